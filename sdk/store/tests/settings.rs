//! Settings, standing answers, locks and quotas, from real files.
#![allow(clippy::unwrap_used, reason = "a claim that cannot be checked has failed")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use foretrace_report::bundle::BundleWriter;
use foretrace_report::{Class, ReportId};
use foretrace_store::settings::{CoreStorage, Debuginfod};
use foretrace_store::vacuum::Reason;
use foretrace_store::{
    Incoming, Owner, Places, Settings, Standing, StandingAnswer, StandingAnswers, StoreKind, UploaderLock,
    Warning,
};

fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let places = Places::system(root.path());
    (root, places)
}

fn load(files: &[(&str, &str)]) -> (Settings, Vec<String>) {
    let (root, places) = world(files);
    let (settings, warnings) = Settings::load(&places);
    let shown = |warning: &Warning| {
        let text = warning.to_string();
        text.strip_prefix(&format!("{}/", root.path().display())).unwrap_or(&text).to_owned()
    };
    (settings, warnings.iter().map(shown).collect())
}

#[test]
fn every_key_is_understood() {
    let (settings, warnings) = load(&[(
        "etc/foretrace.conf",
        "[Upload]\nUrl=https://crash.example/submit\nProtocol=socorro\n[Consent]\nDefault=never\nMax=trail\nLock=yes\n\
         [Storage]\nMaxUse=2G\nKeepFree=512M\nMaxAge=2w\nCore=keep\n[Capture]\nTimeout=5s\n[Symbols]\nDebuginfod=https://a.example http://127.0.0.1:8002\n\
         [Privacy]\nEnvironmentAllow=APP_* MODE\nEnvironmentAllow=LEVEL\nRedact=gone\nRedact=\n\
         Redact=a b+\nRecipient=age1rdt9pjdheky0uvcet85yxrrxqrymc7fe8tvzhg0nqvlf0rl653kq9dppnm\n",
    )]);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(settings.upload.url.as_deref(), Some("https://crash.example/submit"));
    assert_eq!(
        (settings.consent.default, settings.consent.max, settings.consent.lock),
        (Standing::Never, Class::Trail, true)
    );
    assert_eq!((settings.storage.max_use, settings.storage.keep_free), (Some(2 << 30), Some(512 << 20)));
    assert_eq!(
        (settings.storage.max_age, settings.storage.core),
        (Duration::from_secs(1_209_600), CoreStorage::Keep)
    );
    assert_eq!(settings.capture.timeout, Duration::from_secs(5));
    let servers = ["https://a.example", "http://127.0.0.1:8002"].map(str::to_owned).to_vec();
    assert_eq!(settings.debuginfod, Debuginfod::Servers(servers));
    assert_eq!(settings.privacy.environment_allow, ["APP_*", "MODE", "LEVEL"]);
    let redact: Vec<_> =
        settings.privacy.redact.iter().map(|rule| (rule.pattern.as_str(), rule.line)).collect();
    assert_eq!(redact, [("a b+", 22)]);
    let recipient = settings.privacy.recipient.unwrap();
    assert!(recipient.key.unwrap().to_string().starts_with("age1rdt9pjdh") && recipient.line == 23);
}

#[test]
fn a_bad_line_is_named_and_everything_else_goes_on() {
    for (line, complaint) in [
        ("Max=everything", "is no data class"),
        ("Default=perhaps", "ask, never or always"),
        ("Lock=maybe", "yes or no"),
        ("Colour=red", "'Colour' is no setting in [Consent]"),
        ("nonsense", "neither a section"),
        ("[Uplaod]\nUrl=http://x\n[Consent]", "'[Uplaod]' is no section"),
        ("[Storage]\nMaxUse=lots\n[Consent]", "a size"),
        ("[Storage]\nMaxAge=old\n[Consent]", "a time"),
        ("[Capture]\nTimeout=1h\n[Consent]", "from 1s to 10s"),
        ("[Upload]\nUrl=ftp://x\n[Consent]", "http or https"),
        ("[Upload]\nUrl=http:///x\n[Consent]", "http or https"),
        ("[Upload]\nProtocol=pigeon\n[Consent]", "socorro"),
    ] {
        let (settings, warnings) =
            load(&[("etc/foretrace.conf", &format!("[Consent]\n{line}\nDefault=always\n"))]);
        assert_eq!(warnings.len(), 1, "{line}: {warnings:?}");
        let expected_line = if line.contains('\n') { 3 } else { 2 };
        assert!(warnings[0].starts_with(&format!("etc/foretrace.conf:{expected_line}: ")), "{warnings:?}");
        assert!(warnings[0].contains(complaint), "{warnings:?}");
        assert_eq!(settings.consent.default, Standing::Always, "{line}");
        assert_eq!(settings.consent.max, Class::Core, "{line}");
        assert_eq!(settings.upload.url, None, "{line}");
    }
}

#[test]
fn files_win_in_systemds_order() {
    let url = |name: &str| format!("[Upload]\nUrl=https://{name}/\n");
    let (main, vendor, run, admin) = (url("main"), url("vendor"), url("run"), url("admin"));
    for (files, expected) in [
        (vec![("etc/foretrace.conf", &main)], "https://main/"),
        // Fragments win over the main file, wherever they lie.
        (
            vec![("etc/foretrace.conf", &main), ("usr/lib/foretrace.conf.d/10.conf", &vendor)],
            "https://vendor/",
        ),
        // Among fragments the name decides, not the directory.
        (
            vec![("etc/foretrace.conf.d/10.conf", &admin), ("usr/lib/foretrace.conf.d/20.conf", &vendor)],
            "https://vendor/",
        ),
        // Of the same name, /etc replaces /run, and that /usr/lib.
        (
            vec![
                ("usr/lib/foretrace.conf.d/10.conf", &vendor),
                ("run/foretrace.conf.d/10.conf", &run),
                ("etc/foretrace.conf.d/10.conf", &admin),
            ],
            "https://admin/",
        ),
        (
            vec![("usr/lib/foretrace.conf.d/10.conf", &vendor), ("run/foretrace.conf.d/10.conf", &run)],
            "https://run/",
        ),
        // Only *.conf is read.
        (vec![("etc/foretrace.conf", &main), ("etc/foretrace.conf.d/10.conf~", &admin)], "https://main/"),
    ] {
        let files: Vec<(&str, &str)> =
            files.iter().map(|(name, content)| (*name, content.as_str())).collect();
        assert_eq!(load(&files).0.upload.url.as_deref(), Some(expected), "{files:?}");
    }
}

#[test]
fn a_link_to_dev_null_masks_a_vendors_file() {
    let (root, places) = world(&[("usr/lib/foretrace.conf.d/10.conf", "[Upload]\nUrl=https://vendor/\n")]);
    fs::create_dir_all(root.path().join("etc/foretrace.conf.d")).unwrap();
    symlink("/dev/null", root.path().join("etc/foretrace.conf.d/10.conf")).unwrap();
    assert_eq!(Settings::load(&places), (Settings::default(), vec![]));
}

#[test]
fn an_empty_value_takes_back_what_was_said() {
    let (settings, warnings) = load(&[
        (
            "usr/lib/foretrace.conf.d/10.conf",
            "[Upload]\nUrl=https://v/\n[Privacy]\nEnvironmentAllow=A\n[Storage]\nMaxAge=1d\nMaxUse=1K\nCore=keep\n",
        ),
        (
            "etc/foretrace.conf.d/20.conf",
            "[Upload]\nUrl=\n[Privacy]\nEnvironmentAllow=\nEnvironmentAllow=B\n[Storage]\nMaxAge=\nMaxUse=\nCore=\n",
        ),
    ]);
    assert!(warnings.is_empty());
    assert_eq!(settings.privacy.environment_allow, ["B"]);
    assert_eq!(
        (settings.upload, settings.storage),
        (Settings::default().upload, Settings::default().storage)
    );
}

#[test]
fn a_file_of_garbage_is_only_warned_about() {
    let (root, places) = world(&[]);
    fs::create_dir_all(root.path().join("etc/foretrace.conf.d")).unwrap();
    fs::write(root.path().join("etc/foretrace.conf"), b"\xff\x00\x1b[31m[[=\n\\").unwrap();
    fs::create_dir(root.path().join("etc/foretrace.conf.d/a.conf")).unwrap();
    let (settings, warnings) = Settings::load(&places);
    assert_eq!(settings, Settings::default());
    assert!(warnings.len() >= 2);
    assert!(warnings.iter().all(|warning| !warning.to_string().contains('\x1b')));
    assert!(warnings.iter().any(|warning| warning.line.is_none() && warning.file.ends_with("a.conf")));
}

#[test]
fn a_standing_answer_is_remembered_and_ask_forgets_it() {
    let (_root, places) = world(&[]);
    let (mut answers, warnings) = StandingAnswers::load(&places);
    assert!(warnings.is_empty());
    let always = StandingAnswer { answer: Standing::Always, max: Some(Class::Stack) };
    answers.set("firefox", always);
    answers.set("vim", StandingAnswer { answer: Standing::Never, max: None });
    answers.save(&places).unwrap();
    let (mut answers, _) = StandingAnswers::load(&places);
    assert_eq!(answers.of("firefox"), Some(always));
    assert_eq!(answers.iter().count(), 2);
    answers.set("vim", StandingAnswer { answer: Standing::Ask, max: None });
    assert_eq!(answers.of("vim"), None);
}

#[test]
fn answers_that_cannot_be_understood_mean_that_everything_is_asked() {
    let (_root, places) = world(&[]);
    fs::create_dir_all(places.user_state()).unwrap();
    fs::write(places.user_state().join("answers.json"), "{\"programs\":{\"a\":{\"answer\":\"maybe\"}}}")
        .unwrap();
    let (answers, warnings) = StandingAnswers::load(&places);
    assert_eq!((answers, warnings.len()), (StandingAnswers::default(), 1));
}

#[test]
fn one_uploader_at_a_time() {
    let (_root, places) = world(&[]);
    let held = UploaderLock::take(&places).unwrap().unwrap();
    assert!(UploaderLock::take(&places).unwrap().is_none());
    drop(held);
    assert!(UploaderLock::take(&places).unwrap().is_some());
}

fn publish(places: &Places, n: u8, age: Duration) {
    let incoming = Incoming::begin(places, StoreKind::System).unwrap();
    let id = ReportId::from_random([n; 16]);
    let json = format!(
        r#"{{"schema":1,"id":"{id}","kind":"crash","time":"2026-01-01T00:00:00Z","program":{{"name":"a","pid":1}}}}"#
    );
    let mut writer = BundleWriter::new(incoming.bundle().unwrap());
    let noise: Vec<u8> = (0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    writer.add("process/maps", &noise).unwrap();
    writer.finish(serde_json::from_str(&json).unwrap()).unwrap();
    incoming.bundle().unwrap().set_modified(std::time::SystemTime::now() - age).unwrap();
    incoming.publish(id, Owner::current()).unwrap();
}

fn left(places: &Places) -> Vec<u8> {
    let mut left: Vec<u8> = foretrace_store::Store::open(places)
        .reports()
        .reports
        .iter()
        .map(|report| report.id().bytes()[0])
        .collect();
    left.sort_unstable();
    left
}

#[test]
fn a_vacuum_removes_the_old_and_then_the_oldest() {
    let (root, places) = world(&[]);
    let day = Duration::from_secs(86_400);
    for (n, age) in [(1, 40), (2, 3), (3, 2), (4, 1)] {
        publish(&places, n, day * age);
    }
    // Something that is no report is neither counted nor touched.
    let stranger = places.state().join("reports").join("stranger");
    fs::write(&stranger, "").unwrap();
    let mut settings = Settings::default();
    settings.storage.keep_free = Some(0);
    // Only root keeps the system's store.
    if !nix::unistd::geteuid().is_root() {
        assert!(foretrace_store::vacuum(&places, &settings).removed.is_empty());
        return;
    }
    let done = foretrace_store::vacuum(&places, &settings);
    assert_eq!(done.removed.iter().map(|gone| gone.why).collect::<Vec<_>>(), [Reason::Age]);
    assert_eq!((left(&places), done.kept), (vec![2, 3, 4], 3));
    let one = done.kept_bytes / 3;
    assert!(one > 100_000, "a report takes {one} bytes");
    settings.storage.max_use = Some(2 * one + one / 2);
    let done = foretrace_store::vacuum(&places, &settings);
    assert_eq!(done.removed.iter().map(|gone| gone.why).collect::<Vec<_>>(), [Reason::Use]);
    assert_eq!(left(&places), [3, 4]);
    settings.storage.keep_free = Some(u64::MAX);
    foretrace_store::vacuum(&places, &settings);
    assert_eq!(left(&places), [4]);
    assert!(Path::exists(&stranger));
    drop(root);
}
