"""The work behind ./run; see there."""
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS_A_ROUND", "3"))
GATEWAY_TARGETS = ["bench_gateway", "gwload", "gwfloor"]
RPC_TARGETS = ["raw_echo", "bench_rpc"]


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


def load(*argv):
    done = subprocess.run([str(a) for a in argv], stdout=subprocess.PIPE, timeout=SECONDS + 60)
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


def main():
    cases = {"gateway": [run_gateway], "rpc": [run_rpc], "all": [run_gateway, run_rpc]}
    wanted = sys.argv[1] if len(sys.argv) > 1 else "all"
    if len(sys.argv) > 2 or wanted not in cases:
        say("usage: tests/bench/run [gateway|rpc|all]")
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
