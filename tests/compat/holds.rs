//! Compares what was meant once with what is understood now.

use serde_json::Value;

/// Whether all that was meant then is understood now: what is new may stand beside it.
pub(crate) fn holds(now: &Value, then: &Value) -> bool {
    match (now, then) {
        (Value::Object(now), Value::Object(then)) => {
            then.iter().all(|(field, then)| now.get(field).is_some_and(|now| holds(now, then)))
        }
        (Value::Array(now), Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| holds(now, then))
        }
        (now, then) => now == then,
    }
}

#[test]
fn what_is_new_may_stand_beside_what_was_meant_and_nothing_else_may_differ() {
    let json = |text| serde_json::from_str::<Value>(text).unwrap();
    let then = json(r#"{"a":[{"b":1}],"c":null}"#);
    assert!(holds(&json(r#"{"a":[{"b":1,"new":2}],"c":null,"d":3}"#), &then));
    for wrong in [r#"{"a":[{"b":2}],"c":null}"#, r#"{"a":[{"b":1}]}"#, r#"{"a":[],"c":null}"#, "1"] {
        assert!(!holds(&json(wrong), &then), "{wrong}");
    }
}
