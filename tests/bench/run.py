"""The work behind ./run; see there."""
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_A_ROUND", "3"))
GATEWAY_TARGETS = ["bench_gateway", "gwload", "gwfloor"]
RPC_TARGETS = ["raw_echo", "bench_rpc"]
KV_TARGETS = ["bench_kv", "fairway_kv_etcd"]


class Failure(Exception):
    pass


def say(text):
    print(text, file=sys.stderr, flush=True)


def build(targets):
    given = os.environ.get("BUILD")
    if given:
        return pathlib.Path(given).resolve() / "bin"
    configure = ["cmake", "--preset", "release", "-DFW_BUILD_TESTS=ON", "-DFW_BUILD_BENCH=ON"]
    if subprocess.run(configure, cwd=SOURCE, stdout=sys.stderr).returncode:
        raise Failure("cannot configure the release build")
    missing = [t for t in targets if t == "bench_rpc" and not (HERE / "bench_rpc.c").exists()]
    if missing:
        raise Failure(f"missing source of {missing[0]}: tests/bench/{missing[0]}.c")
    make = ["cmake", "--build", "--preset", "release", "--target", *targets]
    if subprocess.run(make, cwd=SOURCE, stdout=sys.stderr).returncode:
        raise Failure("the release build failed")
    return SOURCE / "build" / "release" / "bin"


def need(bin_dir, *names):
    for name in names:
        if not os.access(bin_dir / name, os.X_OK):
            raise Failure(f"missing program: {bin_dir / name}")


def free_ports(count):
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return ports


class Background:
    """Processes of one round; all of them end with it, whatever happens."""

    def __enter__(self):
        self.procs = []
        return self

    def start(self, *argv):
        proc = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL)
        self.procs.append(proc)
        return proc

    def wait_port(self, proc, port):
        for _ in range(500):
            if proc.poll() is not None:
                raise Failure(f"{proc.args[0]} ended with {proc.returncode}")
            # Looked up, not connected to: raw_echo serves only its first connection.
            wanted = f"0100007F:{port:04X} 00000000:0000 0A"
            if wanted in pathlib.Path("/proc/net/tcp").read_text():
                return
            time.sleep(0.01)
        raise Failure(f"{proc.args[0]} does not listen")

    def __exit__(self, *_):
        for proc in reversed(self.procs):  # the gateway last, so that nobody complains of it
            if proc.poll() is None:
                proc.send_signal(signal.SIGTERM)
            try:
                proc.wait(5)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait()


def load(*argv, timeout=SECONDS + 60):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, timeout=timeout)
    if done.returncode:
        raise Failure(f"{argv[0]} failed with {done.returncode}: {done.stdout.decode().strip()}")
    return json.loads(done.stdout)


def gateway_round(bin_dir, program, depth):
    clients, servers = free_ports(2)
    with Background() as running:
        gateway = running.start(bin_dir / program, clients, servers)
        running.wait_port(gateway, clients)
        running.wait_port(gateway, servers)
        running.start(bin_dir / "gwload", "server", "--addr", f"127.0.0.1:{servers}", "--id", 1)
        time.sleep(0.3)
        return load(bin_dir / "gwload", "client", "--addr", f"127.0.0.1:{clients}", "--id", 1,
                    "--clients", 64, "--depth", depth, "--size", 64, "--seconds", SECONDS,
                    "--pid", gateway.pid)


def idle_round(bin_dir, program, count):
    clients, servers = free_ports(2)
    with Background() as running:
        gateway = running.start(bin_dir / program, clients, servers)
        running.wait_port(gateway, clients)
        return load(bin_dir / "gwload", "idle", "--addr", f"127.0.0.1:{clients}", "--clients", count,
                    "--seconds", 2, "--pid", gateway.pid)


def rpc_round(bin_dir, program, depth):
    (port,) = free_ports(1)
    with Background() as running:
        server = running.start(bin_dir / program, "server", port)
        running.wait_port(server, port)
        return load(bin_dir / program, "client", port, 64, depth, SECONDS)


def alternate(case, ours, floor):
    """Rounds of both in turn: two lists of results."""
    results = ([], [])
    for number in range(ROUNDS):
        for which, measure in enumerate((ours, floor)):
            results[which].append(measure())
        say(f"{case}: round {number + 1} of {ROUNDS}")
    return results


def median(results, field):
    return statistics.median(result[field] for result in results)


def compare(case, results, field, digits=3, **more):
    ours, floor = (median(r, field) for r in results)
    print(json.dumps({"case": case, "rounds": ROUNDS, "measure": field, "ours": round(ours, digits),
                      "floor": round(floor, digits), "ratio": round(ours / floor, 3), **more,
                      "all_ours": [r[field] for r in results[0]],
                      "all_floor": [r[field] for r in results[1]]}), flush=True)


def run_gateway():
    bin_dir = build(GATEWAY_TARGETS)
    need(bin_dir, *GATEWAY_TARGETS)
    for depth in (32, 1):
        case = f"gateway_echo_64x{depth}"
        results = alternate(case, lambda: gateway_round(bin_dir, "bench_gateway", depth),
                            lambda: gateway_round(bin_dir, "gwfloor", depth))
        compare(case, results, "gateway_cpu_us_per_round_trip", target=1.25,
                per_s=[round(median(r, "per_s")) for r in results],
                p50_us=[median(r, "p50_us") for r in results],
                p99_us=[median(r, "p99_us") for r in results])
    idle = [idle_round(bin_dir, "bench_gateway", 5000) for _ in range(3)]
    print(json.dumps({"case": "gateway_idle", "clients": 5000, "target": 512,
                      "bytes_per_connection": median(idle, "bytes_per_connection")}), flush=True)


def run_rpc():
    bin_dir = build(RPC_TARGETS)
    need(bin_dir, *RPC_TARGETS)
    for depth, field, target in ((64, "calls_per_s", 0.6), (1, "p50_us", 1.15)):
        case = f"rpc_echo_{depth}"
        results = alternate(case, lambda: rpc_round(bin_dir, "bench_rpc", depth),
                            lambda: rpc_round(bin_dir, "raw_echo", depth))
        compare(case, results, field, target=target)


# A case of the etcd client: operations a round; the fields and targets that count against Go.
KV_CASES = {
    "seq_put": (4000, {"per_s": 1.0, "cpu_us_per_op": 0.75, "rss_kib": 0.9}),
    "seq_get": (4000, {"per_s": None, "cpu_us_per_op": None}),
    "put64": (16000, {"per_s": 1.05, "cpu_us_per_op": 0.85, "rss_kib": 0.9}),
    "get64": (16000, {"per_s": None, "cpu_us_per_op": 0.85}),
    "watch": (2000, {"p50_us": 0.95, "p99_us": 0.9, "cpu_us_per_op": None}),
    "list": (30, {"p50_us": 0.8, "cpu_us_per_op": 0.35, "rss_kib": 0.9}),
}
NODE_SHARE = 4  # it does a fourth of the operations


def start_etcd(running, directory):
    """An etcd of its own, in memory, without waiting for the disk."""
    client, peer = free_ports(2)
    etcd = running.start("etcd", "--data-dir", directory, "--unsafe-no-fsync", "--logger", "zap", "--log-level", "error",
                         "--listen-client-urls", f"http://127.0.0.1:{client}",
                         "--advertise-client-urls", f"http://127.0.0.1:{client}",
                         "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                         "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                         "--initial-cluster", f"default=http://127.0.0.1:{peer}")
    running.wait_port(etcd, client)
    return f"127.0.0.1:{client}"


def build_go_peer(directory):
    go = directory / "etcd_go"
    env = {**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOCACHE": str(directory / "go")}
    made = subprocess.run(["go", "build", "-o", go, HERE / "peers" / "etcd_go.go"], env=env, stdout=sys.stderr)
    if made.returncode:
        raise Failure("cannot build the Go peer (deploy/setup bench installs what it needs)")
    return go


def build_peers(directory):
    """The commands of the peers; what is missing fails, and says how to get it."""
    go = build_go_peer(directory)
    if subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", directory, "etcd3@1.1.2"],
                      stdout=sys.stderr).returncode:
        raise Failure("cannot install npm's etcd3")
    os.environ["NODE_PATH"] = str(directory / "node_modules")
    return {"go": [go], "node": ["node", HERE / "peers" / "etcd_node.js"]}


def kv_case(case, programs, address):
    n, targets = KV_CASES[case]
    results = {name: [] for name in programs}
    order = list(programs)
    for number in range(ROUNDS):
        for name in order:
            count = max(30, n // NODE_SHARE) if name == "node" and case != "list" else n
            where = f"etcd://{address}/bench" if name.startswith("fairway") else address
            mode = ["loop"] if name == "fairway_loop" else []
            results[name].append(load(*programs[name], where, case, count, *mode))
        order.append(order.pop(0))  # nobody is always the first
        say(f"kv {case}: round {number + 1} of {ROUNDS}")
    for name in programs:
        if name == "go":
            continue
        for field, target in targets.items():
            ratios = [a[field] / b[field] for a, b in zip(results[name], results["go"])]
            print(json.dumps({"case": f"kv_{case}", "client": name, "measure": field, "rounds": ROUNDS,
                              "ours": round(median(results[name], field), 2),
                              "go": round(median(results["go"], field), 2),
                              "ratio": round(statistics.median(ratios), 3),
                              **({"target": target} if target and name.startswith("fairway") else {}),
                              "all_ratios": [round(r, 3) for r in ratios]}), flush=True)


def run_kv():
    bin_dir = build(KV_TARGETS)
    need(bin_dir, "bench_kv")
    ours = [bin_dir / "bench_kv"]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary:
        directory = pathlib.Path(temporary)
        peers = build_peers(directory)
        programs = {"fairway": ours, "fairway_loop": ours, **peers}
        wanted = os.environ.get("CASES", " ".join(KV_CASES)).split()
        for case in wanted:
            with Background() as running:
                kv_case(case, programs, start_etcd(running, directory / f"etcd-{case}"))
        with Background() as running:
            address = start_etcd(running, directory / "etcd-watches")
            print(json.dumps(load(*ours, f"etcd://{address}/bench", "watches", 10000, "loop")), flush=True)
        for case, count in (("seq_get", 200000), ("get64", 400000), ("seq_put", 5000), ("put64", 50000),
                            ("notify", 5000)):
            rounds = [load(*ours, f"lmdb:{directory}/lmdb", case, count, "loop") for _ in range(ROUNDS)]
            print(json.dumps({"case": f"lmdb_{case}", "rounds": ROUNDS,
                              **{f: round(median(rounds, f), 2) for f in ("per_s", "p50_us", "p99_us", "cpu_us_per_op")},
                              **({"target_per_s": 200000} if "get" in case else {}),
                              **({"target_p99_us": 5000} if case == "notify" else {})}), flush=True)


# How many watchers hear of a change, and of how many changes.
TOLD = {1: 2000, 100: 500, 1000: 100}


INSTANCES = (10, 1000, 100000)


def compare_lists(case, results, field, **more):
    medians = [median(results[count], field) for count in INSTANCES]
    print(json.dumps({"case": case, "measure": field, "rounds": ROUNDS, "instances": INSTANCES,
                      "medians": [round(m, 3) for m in medians], "ratio": round(medians[-1] / medians[0], 3),
                      **more}), flush=True)


def in_lists(case, measure):
    """Rounds with lists of each length: the results by length."""
    results = {count: [] for count in INSTANCES}
    for number in range(ROUNDS):
        for count in INSTANCES:
            results[count].append(measure(count))
        say(f"{case}: round {number + 1} of {ROUNDS}")
    return results


def run_changes(bench):
    """The watcher by itself, at lists of each length."""
    results = in_lists("discovery_change", lambda count: load(bench, "change", count))
    for field in ("cpu_us", "cpu_us_with_snapshot"):
        compare_lists("discovery_change", results, field, target_us=1000)
    most = INSTANCES[-1]
    print(json.dumps({"case": "discovery_memory", "instances": most, "target": 512,
                      "bytes_per_instance": median(results[most], "bytes_per_instance"),
                      "after_changes": median(results[most], "bytes_per_instance_after_changes")}), flush=True)
    starts = [load(bench, "start", most, "/dev/shm") for _ in range(ROUNDS)]
    print(json.dumps({"case": "discovery_start_from_disk", "instances": most, "target": 100,
                      "ms": median(starts, "ms"), "all": [r["ms"] for r in starts]}), flush=True)


def run_store(bench, address):
    """What a change costs a process that watches, the store's client included."""
    results = in_lists("discovery_change_from_etcd", lambda count: load(
        bench, "store", count, 5000, f"etcd://{address}/list{count}", timeout=600))
    compare_lists("discovery_change_from_etcd", results, "cpu_us", target=1.5, target_us=1000)


def run_told(bench, go, address):
    for watchers, puts in TOLD.items():
        case = f"discovery_told_{watchers}"
        results = alternate(case, lambda: load(bench, "told", watchers, puts, f"etcd://{address}/bench"),
                            lambda: load(go, address, "told", watchers, puts))
        for field in ("p50_us", "p99_us", "cpu_us_per_put"):
            compare(case, results, field)


def run_discovery():
    bin_dir = build(["bench_discovery", "fairway_kv_etcd"])
    need(bin_dir, "bench_discovery")
    bench = bin_dir / "bench_discovery"
    run_changes(bench)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as temporary, Background() as running:
        directory = pathlib.Path(temporary)
        go, address = build_go_peer(directory), start_etcd(running, directory / "etcd")
        run_store(bench, address)
        run_told(bench, go, address)


def run_net():
    """Transports against plain sockets; bench_net takes turns and writes the cases itself."""
    bin_dir = build(["bench_net"])
    need(bin_dir, "bench_net")
    bench = [str(bin_dir / "bench_net")]
    count = os.environ.get("IDLE", "100000")
    for argv in ([*bench, "echo", *os.environ.get("SCHEMES", "").split()],
                 [*bench, "idle", "tcp", count], [*bench, "idle", "tls", str(min(int(count), 10000))]):
        if subprocess.run(argv).returncode:
            raise Failure(f"{' '.join(argv)} failed")


def run_session():
    """Broadcasts against plain writes, and idle sessions; bench_session takes turns itself."""
    bin_dir = build(["bench_session"])
    need(bin_dir, "bench_session")
    bench = str(bin_dir / "bench_session")
    for argv in ([bench, "broadcast", os.environ.get("SESSIONS", "9900"), "50", "64"],
                 [bench, "idle", os.environ.get("IDLE", "100000")]):
        if subprocess.run(argv).returncode:
            raise Failure(f"{' '.join(argv)} failed")


def main():
    cases = {"net": [run_net], "session": [run_session], "gateway": [run_gateway], "rpc": [run_rpc], "kv": [run_kv], "discovery": [run_discovery],
             "all": [run_net, run_session, run_gateway, run_rpc, run_kv, run_discovery]}
    wanted = sys.argv[1] if len(sys.argv) > 1 else "all"
    if len(sys.argv) > 2 or wanted not in cases:
        say("usage: tests/bench/run [net|session|gateway|rpc|kv|discovery|all]")
        return 2
    try:
        for case in cases[wanted]:
            case()
    except (Failure, subprocess.TimeoutExpired) as failure:
        say(f"bench: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
