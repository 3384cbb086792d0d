//! What is recorded is what is read, field by field.

mod rings;

use foretrace::{Level, Privacy, event};
use foretrace_ring::trail::Value;

#[test]
fn every_kind_of_field_comes_back_as_it_was() {
    let name = String::from("Ada \u{1F600}");
    let asked = std::cell::Cell::new(false);
    let secret = || {
        asked.set(true);
        7_u64
    };
    event!(
        info,
        "all of them",
        a = 1_u8,
        b = 65_535_u16,
        c = 3_u32,
        d = u64::MAX,
        e = usize::MAX,
        f = -1_i8,
        g = i16::MIN,
        h = -3,
        i = i64::MIN,
        j = 1.5_f32,
        k = -2.25,
        l = true,
        m = "plain",
        n: personal = name,
        o = &name[..3],
        p = [1_u8, 2, 3],
        q = vec![9_u8; 40],
        r: secret = secret(),
        s: public = 'x' as u32,
    );
    event!(target: "other::place", error, "bare");
    assert!(!asked.get(), "a secret was evaluated");

    let snapshot = rings::snapshot();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    assert_eq!((snapshot.recorded, snapshot.overwritten, snapshot.discarded), (2, 0, 0));
    let trail = rings::trail(&snapshot);
    assert_eq!(trail.problems, Vec::<String>::new());
    let [all, bare] = &trail.events[..] else { panic!("{} events", trail.events.len()) };
    let kind = trail.kind_of(all);
    assert_eq!(
        (kind.provider.as_str(), kind.name.as_str(), kind.level),
        ("events", "all of them", Level::Info)
    );
    assert_eq!(kind.location.as_ref().map(|(file, _)| file.ends_with("tests/events.rs")), Some(true));
    assert_eq!(
        all.values,
        [
            Value::Unsigned(1),
            Value::Unsigned(65_535),
            Value::Unsigned(3),
            Value::Unsigned(u64::MAX),
            Value::Unsigned(u64::MAX),
            Value::Signed(-1),
            Value::Signed(i16::MIN.into()),
            Value::Signed(-3),
            Value::Signed(i64::MIN),
            Value::Float(1.5),
            Value::Float(-2.25),
            Value::Bool(true),
            Value::Text("plain".into()),
            Value::Text(name.clone()),
            Value::Text("Ada".into()),
            Value::Bytes(vec![1, 2, 3]),
            Value::Bytes(vec![9; 40]),
            Value::Withheld,
            Value::Unsigned('x'.into()),
        ]
    );
    assert_eq!(kind.fields[13].privacy, Privacy::Personal);
    assert_eq!(kind.fields[17].privacy, Privacy::Secret);
    assert_eq!(all.thread, rings::thread_id());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(now.abs_diff(all.time) < 1_000_000_000, "{} is not now ({now})", all.time);
    assert!(bare.time >= all.time);
    let kind = trail.kind_of(bare);
    assert_eq!(
        (kind.provider.as_str(), kind.name.as_str(), kind.level),
        ("other::place", "bare", Level::Error)
    );
}
