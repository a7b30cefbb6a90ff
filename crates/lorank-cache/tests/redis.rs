//! The shared store over real servers of Redis, which these tests start on loopback: killed, stopped, full, with TLS and
//! passwords, and a cluster. `tests/stores/run.sh` runs them; they need redis-server, redis-cli and openssl.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lorank_cache::{
    CacheConfig, KeyMaker, RedisConfig, RedisScores, ScoreCache, ScoreKey, ScoreStore, SharedScores, SharedStats,
};
use lorank_core::{Digest, ModelVersion, Precision, Score, with_causes};
use redis::{Connection, cmd};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_millis(200);

/// A server, which is killed at the end.
struct Server {
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let port = free_port();
        let arguments: Vec<String> =
            arguments.iter().map(|&argument| argument.replace("PORT", &port.to_string())).collect();
        Self { port, child: spawn(port, &arguments), arguments }
    }

    fn restart(&mut self) {
        self.child = spawn(self.port, &self.arguments);
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A signal by its name, such as `STOP`.
    fn send(&self, signal: &str) {
        let done = Command::new("kill").args([format!("-{signal}"), self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn connection(&self) -> Connection {
        until("it accepts connections", || redis::Client::open(self.url()).unwrap().get_connection().ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    if !arguments.iter().any(|argument| argument == "--port") {
        command.args(["--port", &port.to_string()]);
    }
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]).args(arguments);
    let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
    until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    child
}

/// A port whose second one, 10,000 above, a cluster can have.
fn free_port() -> u16 {
    until("a port is free", || {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(port).filter(|port| *port < 50_000)
    })
}

/// Waits until there is a value.
fn until<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if let Some(found) = find() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}: not within 30 seconds");
}

fn config(url: &str) -> RedisConfig {
    let ttl = Duration::from_secs(100);
    RedisConfig { url: url.parse().unwrap(), password: None, ca: None, is_cluster: false, ttl }
}

/// A cache with nothing in memory, so that every lookup is one of the store.
fn cache(config: &RedisConfig) -> ScoreCache {
    let shared = SharedScores::start(Arc::new(RedisScores::new(config).unwrap()), LIMIT).unwrap();
    ScoreCache::new(CacheConfig::OFF).with_shared(shared)
}

fn stats(cache: &ScoreCache) -> SharedStats {
    cache.stats().shared.unwrap()
}

fn keys(names: std::ops::Range<u32>) -> Vec<ScoreKey> {
    let zero = Digest::new([0; 32]);
    let model = ModelVersion {
        base_model: "tiny".into(),
        base_digest: zero,
        adapter: None,
        prompt_version: zero,
        precision: Precision::F32,
        merged: false,
    };
    let maker = KeyMaker::new("egg", &model);
    names.map(|n| maker.key(None, &n.to_string())).collect()
}

fn scores(names: std::ops::Range<u32>) -> Vec<Score> {
    names.map(|n| Score::new(n as f32 / 3.0).unwrap()).collect()
}

/// Stores scores, and waits until they are stored.
fn store(cache: &ScoreCache, names: std::ops::Range<u32>) {
    let stored = stats(cache).stored + u64::from(names.end - names.start);
    cache.put_many(&keys(names.clone()), &scores(names));
    until("the scores are stored", || (stats(cache).stored == stored).then_some(()));
}

fn found(cache: &ScoreCache, names: std::ops::Range<u32>) -> Vec<Option<Score>> {
    cache.get_many(&keys(names), None)
}

fn all(names: std::ops::Range<u32>) -> Vec<Option<Score>> {
    scores(names).into_iter().map(Some).collect()
}

/// How often a command was called.
fn n_calls(connection: &mut Connection, command: &str) -> usize {
    let text: String = cmd("INFO").arg("commandstats").query(connection).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[test]
#[ignore = "needs redis-server; tests/stores/run.sh runs it"]
fn scores_are_found_by_another_cache_in_one_round_trip_and_expire() {
    let server = Server::start(&[]);
    let (one, other) = (cache(&config(&server.url())), cache(&config(&server.url())));
    store(&one, 0..500);
    let mut connection = server.connection();
    let before = n_calls(&mut connection, "mget");
    assert_eq!(found(&other, 0..500), all(0..500));
    assert_eq!(n_calls(&mut connection, "mget") - before, 1);
    assert_eq!(found(&other, 499..501), [Some(scores(499..500)[0]), None]);
    assert_eq!((stats(&other).hits, stats(&other).misses), (501, 1));
    let key: Vec<u8> = cmd("RANDOMKEY").query(&mut connection).unwrap();
    let ttl: i64 = cmd("TTL").arg(&key).query(&mut connection).unwrap();
    assert!(key.starts_with(b"lorank:1:") && key.len() == 41 && (90..=100).contains(&ttl), "{ttl}");
}

#[test]
#[ignore = "needs redis-server; tests/stores/run.sh runs it"]
fn a_server_that_is_killed_or_stopped_is_done_without_and_used_again() {
    let mut server = Server::start(&[]);
    let cache = cache(&config(&server.url()));
    for is_kill in [true, false] {
        until("it is used", || stats(&cache).is_used.then_some(()));
        store(&cache, 0..10);
        assert_eq!(found(&cache, 0..10), all(0..10));
        if is_kill {
            server.kill()
        } else {
            server.send("STOP")
        }
        let slow: Vec<Duration> = (0..20).map(|_| timed(|| assert_eq!(found(&cache, 0..10), [None; 10]))).collect();
        let n_slow = slow.iter().filter(|took| **took > LIMIT / 2).count();
        assert!(n_slow <= 3 && slow.iter().all(|took| *took < 3 * LIMIT), "is_kill {is_kill}: {slow:?}");
        assert!(!stats(&cache).is_used);
        if is_kill {
            server.restart()
        } else {
            server.send("CONT")
        }
        until("it is used again", || stats(&cache).is_used.then_some(()));
        let kept = if is_kill { vec![None; 10] } else { all(0..10) };
        assert_eq!(found(&cache, 0..10), kept, "is_kill {is_kill}");
    }
}

fn timed(call: impl FnOnce()) -> Duration {
    let began = Instant::now();
    call();
    began.elapsed()
}

#[test]
#[ignore = "needs redis-server; tests/stores/run.sh runs it"]
fn a_restart_between_two_lookups_is_not_a_failure() {
    let mut server = Server::start(&[]);
    let cache = cache(&config(&server.url()));
    store(&cache, 0..1);
    server.kill();
    server.restart();
    server.connection();
    assert_eq!(found(&cache, 0..1), [None]);
    assert_eq!((stats(&cache).failures, stats(&cache).is_used), (0, true));
}

#[test]
#[ignore = "needs redis-server; tests/stores/run.sh runs it"]
fn a_full_server_still_answers_and_one_that_evicts_goes_on() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let cache = cache(&config(&server.url()));
    store(&cache, 0..10);
    let mut connection = server.connection();
    let mut set = |name: &str, value: &str| {
        let _: () = cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut connection).unwrap();
    };
    set("maxmemory", "1");
    cache.put_many(&keys(10..20), &scores(10..20));
    until("they are dropped", || (stats(&cache).dropped == 10).then_some(()));
    assert_eq!(found(&cache, 0..20), [all(0..10), vec![None; 10]].concat());
    assert!(stats(&cache).is_used);
    set("maxmemory-policy", "allkeys-lru");
    set("maxmemory", "3000000");
    for first in (0..40_000).step_by(1_000) {
        store(&cache, first..first + 1_000);
    }
    let text: String = cmd("INFO").arg("stats").query(&mut connection).unwrap();
    let evicted = text.lines().find_map(|line| line.strip_prefix("evicted_keys:")).unwrap();
    assert!(evicted.parse::<u64>().unwrap() > 1_000, "{evicted}");
    assert_eq!(found(&cache, 39_999..40_000), all(39_999..40_000));
}

#[test]
#[ignore = "needs redis-server; tests/stores/run.sh runs it"]
fn tls_and_passwords_are_checked() {
    let folder = TempDir::new().unwrap();
    certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let arguments = ["--port", "0", "--tls-port", "PORT", "--tls-cert-file", &path("server.pem"), "--tls-key-file"];
    let more =
        [&path("server.key"), "--tls-ca-cert-file", &path("ca.pem"), "--tls-auth-clients", "no"].map(str::to_owned);
    let more: Vec<&str> = more.iter().map(String::as_str).chain(["--requirepass", "open-sesame"]).collect();
    let server = Server::start(&[&arguments[..], &more].concat());
    let ca = Some(std::fs::read(path("ca.pem")).unwrap());
    let tls =
        |user: &str| RedisConfig { ca: ca.clone(), ..config(&format!("rediss://{user}127.0.0.1:{}", server.port)) };
    let given = RedisConfig { password: Some("open-sesame".to_owned()), ..tls("") };
    let (one, other) = (cache(&given), cache(&tls("default:open-sesame@")));
    store(&one, 0..3);
    assert_eq!(found(&other, 0..3), all(0..3));
    for (config, part) in
        [(tls(":close-sesame@"), "password"), (tls(""), "NOAUTH"), (RedisConfig { ca: None, ..given }, "certificate")]
    {
        let error = RedisScores::new(&config).unwrap().get(&keys(0..1), Duration::from_secs(5)).unwrap_err();
        let error = with_causes(&*error);
        assert!(error.to_lowercase().contains(&part.to_lowercase()) && !error.contains("sesame"), "{part}: {error}");
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
}

#[test]
#[ignore = "needs redis-server; tests/stores/run.sh runs it"]
fn a_cluster_is_one_store() {
    let folders = [(); 3].map(|()| TempDir::new().unwrap());
    let start = |folder: &TempDir| {
        let folder = folder.path().display().to_string();
        Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--dir", &folder])
    };
    let mut servers = folders.each_ref().map(start);
    let nodes = servers.each_ref().map(|server| format!("127.0.0.1:{}", server.port));
    let done =
        Command::new("redis-cli").args(["--cluster", "create"]).args(&nodes).arg("--cluster-yes").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    for server in &servers {
        let mut connection = server.connection();
        until("the cluster is made", || {
            let info: String = cmd("CLUSTER").arg("INFO").query(&mut server.connection()).unwrap();
            info.contains("cluster_state:ok").then_some(())
        });
        let _: () = cmd("PING").query(&mut connection).unwrap();
    }
    let at = |server: &Server| RedisConfig { is_cluster: true, ..config(&server.url()) };
    let (one, other) = (cache(&at(&servers[0])), cache(&at(&servers[1])));
    store(&one, 0..300);
    let sizes = servers.each_ref().map(|server| cmd("DBSIZE").query::<u64>(&mut server.connection()).unwrap());
    assert!(sizes.iter().all(|size| *size > 50) && sizes.iter().sum::<u64>() == 300, "{sizes:?}");
    assert_eq!(found(&other, 0..300), all(0..300));
    assert_eq!(stats(&other).failures, 0);
    // The keys of a node that is gone are not found, and nothing takes longer than a few times the limit.
    servers[2].kill();
    for _ in 0..10 {
        let took = timed(|| assert!(found(&other, 0..300).iter().all(Option::is_none)));
        assert!(took < 10 * LIMIT, "{took:?}");
    }
    assert!(!stats(&other).is_used);
}
