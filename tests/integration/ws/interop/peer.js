// The npm package ws as the other end of ws_peer.
//   node peer.js serve [deflate]        prints its port, echoes; a path /refuse is refused
//   node peer.js dial URL [deflate]     sizes, text, pings, fragments, a close with a code
'use strict';
const WebSocket = require('ws');
const [, , mode, ...rest] = process.argv;

function serve(deflate) {
  const server = new WebSocket.Server({
    port: 0, host: '127.0.0.1', maxPayload: 2 << 20,
    perMessageDeflate: deflate ? { threshold: 0 } : false,
    verifyClient: (info, done) => done(!info.req.url.startsWith('/refuse'), 403, 'Forbidden'),
  });
  server.on('listening', () => console.log(server.address().port));
  server.on('connection', (ws) => {
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
    ws.on('close', (code) => console.log('close', code));
    ws.on('error', (error) => console.log('FAILED', error.message));
  });
}

const once = (emitter, name) => new Promise((done, fail) => {
  emitter.once(name, (...args) => done(args));
  emitter.once('error', fail);
});

async function dial(url, deflate) {
  const ws = new WebSocket(url, { perMessageDeflate: deflate ? { threshold: 0 } : false });
  await once(ws, 'open');
  for (const size of [0, 1, 125, 126, 127, 65535, 65536, 500000, 1048576]) {
    const bytes = Buffer.from(Uint8Array.from({ length: size }, (_, i) => i * 3 + size));
    ws.send(bytes);
    const [back, isBinary] = await once(ws, 'message');
    console.log(`${isBinary && bytes.equals(back) ? 'ok' : 'FAILED'} ${size} bytes`);
  }
  ws.send('Grüße', { binary: false });
  const [text] = await once(ws, 'message');
  console.log(`${text.toString() === 'Grüße' ? 'ok' : 'FAILED'} text`);
  ws.ping('are you there');
  const [pong] = await once(ws, 'pong');
  console.log(`${pong.toString() === 'are you there' ? 'ok' : 'FAILED'} pong`);
  ws.send('in ', { fin: false, binary: true });
  ws.send('three ', { fin: false });
  ws.send('parts', { fin: true });
  const [whole] = await once(ws, 'message');
  console.log(`${whole.toString() === 'in three parts' ? 'ok' : 'FAILED'} fragments`);
  console.log(`${ws.extensions.includes('permessage-deflate') === deflate ? 'ok' : 'FAILED'} extensions`);
  ws.close(4321, 'done');
  const [code] = await once(ws, 'close');
  console.log(`${code === 4321 ? 'ok' : 'FAILED'} close ${code}`);
}

if (mode === 'serve') serve(rest[0] === 'deflate');
else dial(rest[0], rest[1] === 'deflate').catch((error) => { console.log('FAILED', error.message); process.exit(1); });
