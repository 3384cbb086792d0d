//! Annotations: the newest value of each key, in its class, whatever happens around it.

mod rings;

use foretrace::{Privacy, annotate};

#[test]
fn the_newest_value_of_each_key_is_kept_in_its_class() {
    annotate("document", "draft.txt", Privacy::Public);
    annotate("user", "ada", Privacy::Personal);
    annotate("token", "hunter2", Privacy::Secret);
    annotate("document", "a longer name of a document.txt", Privacy::Public);
    annotate("document", "b", Privacy::Public);
    let long = "ä".repeat(1000);
    annotate("long", &long, Privacy::Public);
    annotate(&long, "no key", Privacy::Public);
    for number in 0..100 {
        annotate(&format!("key {number}"), "x", Privacy::Public);
    }
    let snapshot = rings::snapshot();
    let found = |key: &str| {
        snapshot
            .annotations
            .iter()
            .find(|note| note.key == key)
            .map(|note| (note.value.clone(), note.privacy))
    };
    assert_eq!(found("document"), Some(("b".into(), Privacy::Public)));
    assert_eq!(found("user"), Some(("ada".into(), Privacy::Personal)));
    assert_eq!(found("token"), Some((String::new(), Privacy::Secret)));
    assert_eq!(found("long"), Some(("ä".repeat(246), Privacy::Public)));
    assert_eq!(snapshot.annotations.len(), 64);
    assert_eq!(
        snapshot.problems,
        [
            "1 fields were too long and were cut",
            "41 annotations were refused: too many, too long, or two at once"
        ]
    );
    // Two threads on one key: one of their values, whole.
    std::thread::scope(|scope| {
        for text in ["aaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"] {
            scope.spawn(move || (0..10_000).for_each(|_| annotate("user", text, Privacy::Public)));
        }
        for _ in 0..200 {
            let snapshot = rings::snapshot();
            let user = snapshot.annotations.iter().find(|note| note.key == "user");
            if let Some(user) = user {
                let first = user.value.chars().next().unwrap();
                assert!(user.value == "ada" || user.value.chars().all(|c| c == first), "{}", user.value);
            }
        }
    });
}
