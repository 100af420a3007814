// The peer of `run` that locks with npm's etcd3. Its lock does not wait, so this asks again.
//
//   peer hold KEY           waits for the lock, prints "locked", holds it until its input ends
//   peer try KEY            prints "locked" or "busy", at once
//   peer count KEY N FILE   N times: adds one to the number in FILE under the lock
'use strict';
const fs = require('fs');
const { Etcd3, EtcdLockFailedError } = require('etcd3');

const client = new Etcd3({ hosts: 'http://' + process.env.ENDPOINT });
const [command, key, times, file] = process.argv.slice(2);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The lock, or null if somebody else has it.
async function acquire() {
  const lock = client.lock(key).ttl(10);
  try {
    return await lock.acquire();
  } catch (error) {
    if (error instanceof EtcdLockFailedError) return null;
    throw error;
  }
}

async function waitFor() {
  for (;;) {
    const lock = await acquire();
    if (lock) return lock;
    await sleep(5);
  }
}

async function addOne() {
  const number = Number(fs.readFileSync(file, 'utf8'));
  await sleep(10);
  fs.writeFileSync(file, String(number + 1));
}

async function main() {
  if (command === 'hold') {
    const lock = await waitFor();
    console.log('locked');
    for await (const chunk of process.stdin) void chunk;
    await lock.release();
  } else if (command === 'try') {
    const lock = await acquire();
    console.log(lock ? 'locked' : 'busy');
    if (lock) await lock.release();
  } else {
    for (let i = 0; i < Number(times); i++) {
      const lock = await waitFor();
      await addOne();
      await lock.release();
      await sleep(5); // it is not fair: let the others have their turn
    }
  }
  client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
