//! Stores that share a database of PostgreSQL, which these tests start on loopback: killed, stopped, with TLS and passwords.
//! `tests/stores/run.sh` runs them; they need PostgreSQL's programs (`LORANK_POSTGRES_BIN` names their folder) and openssl.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use lorank_core::{RankerSettings, with_causes};
use lorank_experiment_store::{Copied, ExperimentStore, ExperimentStoreError, StoreConfig, StoreUrl};
use lorank_experiments::{
    AnalysisOptions, Arm, ArmModel, Assigned, Event, Experiment, ExperimentState, Exposure, Method, PrimaryMeasure,
    UnitKind,
};
use postgres::{Client, NoTls};
use serde_json::json;
use tempfile::TempDir;

const OPTIONS: AnalysisOptions =
    AnalysisOptions { alpha: 0.05, smallest_difference: None, n_units_min: 3, mismatch_alpha: 0.01 };

/// A server with a database of its own, which is killed at the end. It does not run as root, so root runs it as `postgres`.
struct Server {
    home: TempDir,
    port: u16,
    settings: Vec<String>,
    child: Child,
}

impl Server {
    fn start(settings: impl Fn(&Path) -> Vec<String>) -> Self {
        let home = tempfile::Builder::new().prefix("lorank-postgres-").tempdir().unwrap();
        std::fs::write(home.path().join("password"), "open-sesame").unwrap();
        own(home.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (data, password) = (home.path().join("data"), home.path().join("password"));
        let mut command = program("initdb");
        command.args(["-U", "lorank", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
        let done = command.arg("--pwfile").arg(&password).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let settings = settings(home.path());
        let child = spawn(home.path(), port, &settings);
        Self { home, port, settings, child }
    }

    fn restart(&mut self) {
        let _ = std::fs::remove_file(self.home.path().join("data/postmaster.pid"));
        self.child = spawn(self.home.path(), self.port, &self.settings);
    }

    /// A crash of the server and of all its processes.
    fn kill(&mut self) {
        self.send("KILL");
        self.child.wait().unwrap();
    }

    /// A signal by its name to the server and to its processes, which are in groups of their own.
    fn send(&self, signal: &str) {
        let server = self.child.id().to_string();
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap();
        // A process may have ended by itself.
        let _ = Command::new("kill").arg(format!("-{signal}")).arg(&server).args(children.split_whitespace()).output();
    }

    fn url(&self) -> StoreUrl {
        self.address().parse().unwrap()
    }

    fn address(&self) -> String {
        format!("postgres://lorank:open-sesame@127.0.0.1:{}/postgres", self.port)
    }

    fn client(&self) -> Client {
        until("it accepts connections", || Client::connect(&self.address(), NoTls).ok())
    }

    fn store(&self) -> ExperimentStore {
        let config = StoreConfig { refresh: Duration::from_millis(50), ..StoreConfig::default() };
        ExperimentStore::connect(&self.url(), None, config).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(home: &Path, port: u16, settings: &[String]) -> Child {
    let mut command = program("postgres");
    command.arg("-D").arg(home.join("data")).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c"]);
    command.arg(format!("unix_socket_directories={}", home.display()));
    for setting in settings {
        command.args(["-c", setting]);
    }
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let address = format!("postgres://lorank:open-sesame@127.0.0.1:{port}/postgres");
    until("PostgreSQL starts", || Client::connect(&address, NoTls).ok());
    child
}

/// A program of PostgreSQL.
fn program(name: &str) -> Command {
    let folder = std::env::var_os("LORANK_POSTGRES_BIN").map_or_else(newest, PathBuf::from);
    let program = folder.join(name);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// The folder of Debian's newest version.
fn newest() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let number = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    versions.map(|entry| entry.unwrap().path()).max_by_key(number).unwrap().join("bin")
}

fn is_root() -> bool {
    let done = Command::new("id").arg("-u").output().unwrap();
    done.stdout.trim_ascii() == b"0"
}

/// Gives files to the user that the server runs as.
fn own(path: &Path) {
    if is_root() {
        assert!(Command::new("chown").args(["-R", "postgres"]).arg(path).status().unwrap().success());
    }
}

/// Waits until there is a value.
fn until<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        if let Some(found) = find() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}: not within a minute");
}

fn draft(id: &str) -> Experiment {
    let arm = |name: &str| Arm {
        name: name.into(),
        model: ArmModel::Base,
        settings: RankerSettings::default(),
        weight: NonZeroU32::MIN,
        pinned: None,
    };
    Experiment {
        id: id.into(),
        arms: vec![arm("control"), arm("qa")],
        method: Method::Split,
        unit: UnitKind::UnitId,
        salt: id.into(),
        traffic_share: 0.5,
        layer: "main".into(),
        primary_measure: PrimaryMeasure::ClickThrough,
        start_millis: None,
        end_millis: None,
        state: ExperimentState::Draft,
        buckets: Vec::new(),
    }
}

fn exposure(request_id: &str, unit: usize) -> Exposure {
    Exposure {
        request_id: request_id.into(),
        index: "default".into(),
        // PostgreSQL has no text with this character.
        query: "boil\0an egg".into(),
        unit_id: None,
        assigned: Some(Assigned {
            experiment: "e".into(),
            unit: format!("u{unit}"),
            arm: unit % 2,
            arm_name: ["control", "qa"][unit % 2].into(),
            forced: false,
            teams: Vec::new(),
            arms: Vec::new(),
        }),
        hits: ["a", "b", "c"].map(str::to_owned).into(),
        first_rank: 1,
        latency_micros: 1_500,
        fallback: None,
        model: None,
        at_millis: 10,
    }
}

fn click(event_id: &str, query_id: &str) -> Event {
    let json =
        json!({"event_id": event_id, "action_name": "click", "query_id": query_id, "object_id": "b", "timestamp": 20});
    Event::from_json(json).unwrap()
}

fn started(store: &ExperimentStore) {
    store.create(draft("e")).unwrap();
    store.start("e", 0).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL; tests/stores/run.sh runs it"]
fn stores_on_one_database_follow_each_other_and_count_an_event_once() {
    let server = Server::start(|_| Vec::new());
    let (one, other) = (server.store(), server.store());
    started(&one);
    until("the other one runs it", || (other.running().len() == 1).then_some(()));
    other.raise_share("e", 0.9, 1).unwrap();
    until("the first one raises its share", || (one.running()[0].traffic_share > 0.8).then_some(()));
    assert_eq!(one.running(), other.running());
    one.submit_exposures((0..40).map(|n| exposure(&format!("r{n}"), n)).collect()).unwrap();
    let accepted = Mutex::new(0);
    std::thread::scope(|scope| {
        for store in [&one, &other, &one, &other] {
            scope.spawn(|| {
                for n in 0..40 {
                    let submitted = store.submit(vec![click(&format!("e{n}"), &format!("r{n}"))], 30).unwrap();
                    *accepted.lock().unwrap() += submitted.accepted;
                    assert_eq!(submitted.accepted + submitted.duplicates, 1);
                }
            });
        }
    });
    assert_eq!(*accepted.lock().unwrap(), 40);
    let report = |store: &ExperimentStore| store.report("e", OPTIONS, 100).unwrap().report;
    assert_eq!(report(&one), report(&other));
    assert_eq!(report(&one).arms.iter().map(|arm| arm.n_clicks).sum::<u64>(), 40);
    one.stop("e", 50).unwrap();
    until("the other one stops it", || other.running().is_empty().then_some(()));
}

#[test]
#[ignore = "needs PostgreSQL; tests/stores/run.sh runs it"]
fn acknowledged_events_outlive_a_crash_and_exposures_wait_for_the_end_of_it() {
    let mut server = Server::start(|_| Vec::new());
    let (one, other) = (server.store(), server.store());
    started(&one);
    let (acknowledged, is_over) = (Mutex::new(BTreeSet::new()), Mutex::new(false));
    let n_acknowledged = || acknowledged.lock().unwrap().len();
    std::thread::scope(|scope| {
        for (thread, store) in [&one, &other, &one, &other].into_iter().enumerate() {
            let (acknowledged, is_over) = (&acknowledged, &is_over);
            scope.spawn(move || {
                for n in (0..).take_while(|_| !*is_over.lock().unwrap()) {
                    let id = format!("{thread}-{n}");
                    assert!(store.record_exposure(exposure(&id, n)));
                    if store.submit(vec![click(&id, &id)], 30).is_ok() {
                        acknowledged.lock().unwrap().insert(id);
                    } else {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        for is_crash in [true, false] {
            let before = n_acknowledged();
            until("events are acknowledged", || (n_acknowledged() > before + 100).then_some(()));
            if is_crash {
                server.kill()
            } else {
                server.send("STOP")
            }
            let began = Instant::now();
            // What searches need is in memory.
            assert_eq!(one.running().len(), 1);
            assert!(one.record_exposure(exposure(&format!("meanwhile-{is_crash}"), 1)));
            assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
            std::thread::sleep(Duration::from_millis(300));
            if is_crash { server.restart() } else { server.send("CONT") }
        }
        let before = n_acknowledged();
        until("events are acknowledged again", || (n_acknowledged() > before + 100).then_some(()));
        *is_over.lock().unwrap() = true;
    });
    one.flush().unwrap();
    other.flush().unwrap();
    let mut client = server.client();
    let mut ids = |sql: &str| -> Vec<String> { client.query(sql, &[]).unwrap().iter().map(|row| row.get(0)).collect() };
    let events = ids("SELECT event_id FROM events");
    let stored: BTreeSet<String> = events.iter().cloned().collect();
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost: Vec<&String> = acknowledged.difference(&stored).collect();
    assert!(lost.is_empty(), "{lost:?} were acknowledged");
    assert_eq!(stored.len(), events.len());
    let exposures: BTreeSet<String> = ids("SELECT request_id FROM exposures").into_iter().collect();
    assert!(acknowledged.is_subset(&exposures), "the exposures waited for the database");
    assert!(["meanwhile-true", "meanwhile-false"].iter().all(|id| exposures.contains(*id)));
    assert_eq!((one.n_lost(), one.n_dropped(), other.n_lost(), other.n_dropped()), (0, 0, 0, 0));
}

#[test]
#[ignore = "needs PostgreSQL; tests/stores/run.sh runs it"]
fn a_file_is_copied_once() {
    let server = Server::start(|_| Vec::new());
    let folder = TempDir::new().unwrap();
    let file = ExperimentStore::open(folder.path(), StoreConfig::default()).unwrap();
    started(&file);
    file.submit_exposures((0..60).map(|n| Exposure { query: "egg".into(), ..exposure(&format!("r{n}"), n) }).collect())
        .unwrap();
    file.submit((0..40).map(|n| click(&format!("e{n}"), &format!("r{n}"))).collect(), 30).unwrap();
    let all = Copied { n_experiments: 1, n_exposures: 60, n_events: 40, ..Copied::default() };
    assert_eq!(file.copy_to(&server.url(), None).unwrap(), all);
    assert_eq!(file.copy_to(&server.url(), None).unwrap(), Copied::default());
    let shared = server.store();
    assert_eq!(shared.list().unwrap(), file.list().unwrap());
    assert_eq!(shared.records("e").unwrap(), file.records("e").unwrap());
    let report = |store: &ExperimentStore| store.report("e", OPTIONS, 100).unwrap().report;
    assert_eq!(report(&shared), report(&file));
    let export = |store: &ExperimentStore| {
        let mut csv = Vec::new();
        store.export_events("e", &mut csv).unwrap();
        csv
    };
    assert_eq!(export(&shared), export(&file));
    // An experiment that went on by itself cannot be merged.
    shared.stop("e", 50).unwrap();
    assert!(matches!(file.copy_to(&server.url(), None), Err(ExperimentStoreError::Exists { .. })));
}

#[test]
#[ignore = "needs PostgreSQL; tests/stores/run.sh runs it"]
fn tls_passwords_and_schemas_are_checked() {
    let server = Server::start(|home| {
        certificates(home);
        own(home);
        let file = |setting: &str, name: &str| format!("{setting}={}", home.join(name).display());
        vec!["ssl=on".to_owned(), file("ssl_cert_file", "server.pem"), file("ssl_key_file", "server.key")]
    });
    let ca = std::fs::read(server.home.path().join("ca.pem")).unwrap();
    let connect = |address: &str, ca: Option<&[u8]>| {
        ExperimentStore::connect(&address.parse().unwrap(), ca, StoreConfig::default())
    };
    let with_tls = format!("{}?sslmode=require", server.address());
    let store = connect(&with_tls, Some(&ca)).unwrap();
    let sql =
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'lorank'";
    assert!(server.client().query_one(sql, &[]).unwrap().get::<_, bool>(0));
    drop(store);
    let wrong = with_tls.replace("open-sesame", "close-sesame");
    let nowhere = "postgres://lorank:open-sesame@127.0.0.1:1/postgres";
    server.client().batch_execute("UPDATE lorank_schema SET version = 99").unwrap();
    for (address, ca, part) in [
        (with_tls.as_str(), None, "certificate"),
        (&wrong, Some(ca.as_slice()), "password authentication failed"),
        (nowhere, None, "could not open `postgres://lorank:***@127.0.0.1:1/postgres`"),
        (&with_tls, Some(b"no certificate"), "has no certificate in PEM form"),
        (&with_tls, Some(&ca), "has the schema 99, but this version only supports schemas up to 1"),
    ] {
        let error = with_causes(&connect(address, ca).unwrap_err());
        assert!(error.contains(part) && !error.contains("sesame"), "{part}: {error}");
    }
}

/// An authority, and a certificate of 127.0.0.1 that it has signed.
fn certificates(folder: &Path) {
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for arguments in [
        format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
        format!("req {key} -subj /CN=server -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -days 2 -extfile names -out server.pem".to_owned(),
    ] {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert!(Command::new("chmod").arg("600").arg(folder.join("server.key")).status().unwrap().success());
}
