//! The image that the tests run.

use anyhow::ensure;
use libtest_mimic::Trial;
use ocelot_e2e::engine::run_in_container;
use ocelot_e2e::runner::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("images::the_test_image_runs_without_a_registry", || async {
        let printed = run_in_container(&["sh", "-c", "echo from the shell"])?;
        ensure!(printed == "from the shell\n", "it printed {printed:?}");
        Ok(())
    })]
}
