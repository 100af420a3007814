// A second peer of bench_kv: npm's etcd3 at the same cases.
//   node etcd_node.js HOST:PORT CASE N      (with etcd3 where NODE_PATH finds it)
'use strict';
const { Etcd3 } = require('etcd3');

const KEYS = 1000, LIST_KEYS = 10000, [address, name, count] = process.argv.slice(2), n = Number(count);
const client = new Etcd3({ hosts: `http://${address}` }), value = 'v'.repeat(200);
const key = (directory, i) => `/bench/${directory}k${String(i).padStart(6, '0')}`;
const put = (k, size) => client.put(k).value(value.slice(0, size));

async function measure(parallel, op) {
  const took = [], cpu = process.cpuUsage(), began = process.hrtime.bigint();
  let next = 0;
  const worker = async () => {
    while (next < n) {
      const i = next++, start = process.hrtime.bigint();
      await op(i);
      took.push(Number(process.hrtime.bigint() - start) / 1e3);
    }
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  const seconds = Number(process.hrtime.bigint() - began) / 1e9, spent = process.cpuUsage(cpu);
  took.sort((a, b) => a - b);
  console.log(JSON.stringify({ client: 'npm-etcd3', case: name, per_s: n / seconds,
    p50_us: took[n >> 1], p99_us: took[Math.floor(n * 99 / 100)],
    cpu_us_per_op: (spent.user + spent.system) / n, rss_kib: Number(/VmHWM:\s*(\d+)/.exec(require('fs').readFileSync('/proc/self/status', 'utf8'))[1]) }));
}

async function main() {
  const list = name === 'list', total = list ? LIST_KEYS : KEYS;
  for (let i = 0; i < total; i++) await put(key(list ? 'listed/' : '', i), list ? 200 : 100);
  const doPut = (i) => put(key('', i % KEYS), 100), doGet = (i) => client.get(key('', i % KEYS)).buffer();
  if (name === 'seq_put') await measure(1, doPut);
  else if (name === 'seq_get') await measure(1, doGet);
  else if (name === 'put64') await measure(64, doPut);
  else if (name === 'get64') await measure(64, doGet);
  else if (name === 'watch') {
    const watcher = await client.watch().prefix('/bench/watched/').create();
    await measure(1, (i) => new Promise((resolve, reject) => {
      let waiting = 2;
      const done = () => { if (!--waiting) resolve(); };
      watcher.once('put', done);
      put(key('watched/', i % KEYS), 100).then(done, reject);
    }));
  } else if (name === 'list') {
    await measure(1, async () => {
      const all = await client.getAll().prefix('/bench/listed/').buffers();
      if (Object.keys(all).length !== LIST_KEYS) throw new Error('not all were listed');
    });
  } else throw new Error(`${name}: no such case`);
  process.exit(0); // its watch would keep it alive, client.close() or not
}

main().catch((error) => { console.error(`etcd_node: ${error.message}`); process.exit(1); });
