//! The checks at the size that every change affords; `ocelot-sim --long` goes further.

use ocelot_core::plan::Class;
use ocelot_sim::model::Guard;
use ocelot_sim::rows::{self, Bounds};
use ocelot_sim::sequences;

#[test]
fn nothing_that_can_happen_breaks_a_promise() {
    for class in [Class::Normal, Class::Once, Class::Exclusive] {
        // A client that may cancel may also never do so.
        let row = rows::with_all(class, true, &Bounds::SHORT);
        assert!(row.holds, "{row}\n{:#?}", row.trace);
    }
}

/// Guards whose loss shows within a few thousand worlds; the table of the long run has them all.
#[test]
fn without_a_guard_a_promise_breaks() {
    for guard in [
        Guard::MissingComparesSequence,
        Guard::KillFromFreshRead,
        Guard::OfferComparesSession,
        Guard::StartIsJournalled,
        Guard::StartWaitsForAnswer,
        Guard::PutBackComparesIncarnation,
        Guard::LostComparesRecord,
        Guard::OnceNeverRetried,
        Guard::CancelEndsOffered,
        Guard::CancelNeverRequeues,
        Guard::CancelWins,
        Guard::CancelKeepsWait,
        Guard::OpenReplacesSession,
        Guard::AttachBeforeFenced,
        Guard::CompleteComparesAttempt,
        Guard::CompleteComparesSession,
        Guard::TriesOncePerAttempt,
        Guard::FinishedAbsorbs,
    ] {
        let row = rows::without(guard, None, &Bounds::SHORT);
        assert!(row.violated, "nothing breaks without {guard:?}: {row}");
    }
}

#[test]
fn ten_thousand_random_sequences_hold() {
    let passed = sequences::run(10_000, 1).unwrap_or_else(|failed| panic!("{failed:#?}"));
    assert_eq!(passed.finished, 10_000);
    assert!(passed.accepted * 4 > passed.events, "most sequences do nothing: {passed:?}");
}

#[test]
fn a_seed_replays_its_sequence() {
    assert_eq!(sequences::run(1, 42), sequences::run(1, 42));
    assert_ne!(sequences::run(1, 42), sequences::run(1, 43));
}
