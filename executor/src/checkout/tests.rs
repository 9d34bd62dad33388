//! Checkouts of a real repository on this disk, and which mirrors go.

use std::process::Command;
use std::time::SystemTime;

use ocelot_proto::kit::clock::SystemClock;

use super::*;

/// A machine with a repository that has two commits on `main`.
struct Bench {
    root: tempfile::TempDir,
    checkouts: Checkouts,
    commits: Vec<String>,
}

#[derive(Default)]
struct Said(Mutex<Vec<String>>);

impl Tell for Said {
    fn line(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    // No process of git outlives the call, and writes while the repository is given away.
    command.current_dir(folder).args(["-c", "maintenance.auto=false"]);
    command.args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).trim().to_owned()
}

/// Git reads no repository on this disk that is somebody else's.
fn give_to_gits_account(repository: &Path) {
    if let Some(account) = account::own(repository) {
        let owner = format!("{}:{}", account.uid, account.gid);
        assert!(Command::new("chown").arg("-R").arg(owner).arg(repository).status().unwrap().success());
    }
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Git's own account has to get to it.
        std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let repository = root.path().join("repository");
        std::fs::create_dir(&repository).unwrap();
        git(&repository, &["init", "--quiet", "--initial-branch=main"]);
        let commits = ["one", "two"].map(|text| {
            std::fs::write(repository.join("file"), text).unwrap();
            git(&repository, &["add", "file"]);
            git(&repository, &["commit", "--quiet", "--message", text]);
            git(&repository, &["rev-parse", "HEAD"])
        });
        give_to_gits_account(&repository);
        let data = root.path().join("data");
        std::fs::create_dir_all(data.join("attempts/one/workspace")).unwrap();
        let allowed = Allowed { file: true, ..Allowed::default() };
        let checkouts = Checkouts::new(&data, &root.path().join("memory"), allowed, Arc::new(SystemClock));
        Self { root, checkouts, commits: commits.to_vec() }
    }

    fn order(&self, commit: &str) -> Order {
        let source = Source {
            url: format!("file://{}", self.root.path().join("repository").display()),
            commit: commit.to_owned(),
            reference: "refs/heads/main".to_owned(),
            branch: "main".to_owned(),
            needs_credentials: false,
        };
        Order {
            source,
            wanted: Checkout { depth: 0, submodules: false, lfs: false },
            credentials: Credentials::None,
            workspace: self.root.path().join("data/attempts/one/workspace"),
        }
    }

    async fn place(&self, order: &Order) -> (Result<(), Cause>, Vec<String>) {
        let said = Said::default();
        let owner = rustix::process::geteuid().is_root().then_some(Owner { uid: 0, gid: 0 });
        let placed = self.checkouts.place(order, async { Ok(owner) }, &said).await;
        (placed, said.0.into_inner().unwrap())
    }
}

#[tokio::test]
async fn a_workspace_has_its_commit_on_its_branch_and_belongs_to_the_task() {
    let bench = Bench::new();
    let order = bench.order(&bench.commits[0]);
    // What an earlier process left of a checkout does not count.
    std::fs::write(order.workspace.join("half"), "x").unwrap();
    let (placed, said) = bench.place(&order).await;
    placed.unwrap();
    assert_eq!(std::fs::read_to_string(order.workspace.join("file")).unwrap(), "one");
    assert!(!order.workspace.join("half").exists());
    assert_eq!(git(&order.workspace, &["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert_eq!(git(&order.workspace, &["rev-parse", "HEAD"]), bench.commits[0]);
    assert_eq!(git(&order.workspace, &["status", "--porcelain"]), "");
    let done = said.last().unwrap();
    assert!(
        done.starts_with(&format!("checkout: commit {} on main in ", &bench.commits[0][..7])),
        "{said:?}"
    );
    // The second one finds the mirror there.
    let (placed, _) = bench.place(&bench.order(&bench.commits[1])).await;
    placed.unwrap();
    assert_eq!(std::fs::read_to_string(order.workspace.join("file")).unwrap(), "two");
    assert_eq!(std::fs::read_dir(bench.root.path().join("data/mirrors")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_commit_that_is_gone_is_the_tasks_trouble_and_says_so() {
    let bench = Bench::new();
    let gone = "1".repeat(40);
    match bench.place(&bench.order(&gone)).await.0 {
        Err(Cause::Failed(Failure::Setup { why })) => {
            assert!(why.starts_with(&format!("the checkout failed: commit {gone} is not in ")), "{why}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_an_offer_names_is_checked_before_git_sees_it() {
    let bench = Bench::new();
    let good = bench.order(&bench.commits[0]);
    let url = |url: &str| Order {
        source: Source { url: url.to_owned(), ..good.source.clone() },
        ..bench.order("")
    };
    let commit = |commit: &str| bench.order(commit);
    let reference = |text: &str| Order {
        source: Source { reference: text.to_owned(), ..good.source.clone() },
        ..bench.order("")
    };
    for order in [
        url("ext::sh -c id"),
        url("--upload-pack=id"),
        url("https://name:password@example.com/a"),
        commit("--help"),
        commit("main"),
        reference("--all"),
        reference("refs/heads/-x"),
    ] {
        let (placed, said) = bench.place(&order).await;
        assert!(matches!(placed, Err(Cause::Failed(Failure::Setup { .. }))), "{order:?}: {placed:?}");
        assert_eq!(said, Vec::<String>::new(), "nothing was asked for");
    }
}

#[tokio::test]
async fn a_mirror_gives_way_unless_it_is_in_use_and_is_made_again() {
    let bench = Bench::new();
    bench.place(&bench.order(&bench.commits[0])).await.0.unwrap();
    let known = bench.checkouts.known().await;
    let [mirror] = &known[..] else { panic!("{known:?}") };
    assert!(mirror.bytes > 0 && !mirror.in_use, "{mirror:?}");
    assert!(mirror.last_used > SystemTime::UNIX_EPOCH, "{mirror:?}");
    let in_use = bench.checkouts.uses(&mirror.folder);
    assert!(bench.checkouts.known().await[0].in_use);
    assert_eq!(bench.checkouts.take_away(&mirror.folder).await, Ok(false));
    assert!(mirror.folder.exists(), "somebody reads it");
    drop(in_use);
    assert_eq!(bench.checkouts.take_away(&mirror.folder).await, Ok(true));
    assert_eq!(bench.checkouts.known().await, []);
    bench.place(&bench.order(&bench.commits[1])).await.0.unwrap();
}
