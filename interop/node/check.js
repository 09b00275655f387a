// Checks an etcd server through `etcd3`, which is built on grpc-js: an HTTP/2 stack of Node's own (nghttp2).
//
// Usage: node check.js URL. Prints `ok N checks`, or each failed check with what was expected and what came; then the exit
// status is 1. It works below one key prefix, clears that first and compacts the store: never point it at data that matters.
'use strict';

const { isDeepStrictEqual, inspect } = require('node:util');
const { Etcd3 } = require('etcd3');

const PREFIX = 'node/';
const END = 'node0';
// A server that hangs is a failure, not a wait.
const RUN_LIMIT_MS = 60_000;

let passed = 0;
let failed = 0;

function equal(name, expected, got) {
  if (isDeepStrictEqual(expected, got)) {
    passed += 1;
    return;
  }
  failed += 1;
  console.log(`FAIL ${name}\n  expected: ${inspect(expected)}\n       got: ${inspect(got)}`);
}

// grpc-js writes the number and the name of the code before the server's text; etcd3 may put its own class there.
async function refused(name, code, message, call) {
  let got;
  try {
    got = ['no error', inspect(await call())];
  } catch (error) {
    got = [error.constructor.name, error.message.replace(/^[^:]*?[A-Z_]+: |^[A-Za-z]+: /, '')];
  }
  equal(name, [code, message], got);
}

const bytes = (name) => Buffer.from(PREFIX + name);
const pairs = (kvs) => kvs.map((kv) => `${kv.key.toString().slice(PREFIX.length)}=${kv.value}`).join(' ');
const revision = async (client) => BigInt((await client.kv.range({ key: bytes('none') })).header.revision);
const range = (client, options) => client.kv.range({ key: bytes('g'), range_end: bytes('h'), ...options });

async function checkPut(client) {
  const base = await revision(client);
  const first = await client.put(`${PREFIX}a`).value('1');
  equal('a put is the next revision', base + 1n, BigInt(first.header.revision));
  equal('the previous value', '1', (await client.put(`${PREFIX}a`).value('2').getPrevious()).value.toString());
  await client.kv.put({ key: bytes('a'), ignore_value: true });
  const [row] = (await client.kv.range({ key: bytes('a') })).kvs;
  equal('the whole row', ['2', 1n, 3n, '3', '0'],
    [row.value.toString(), BigInt(row.create_revision) - base, BigInt(row.mod_revision) - base, row.version, row.lease]);
  equal('an absent key', null, await client.get(`${PREFIX}none`));
  const everyByte = Buffer.from([...Array(256).keys()]);
  await client.put(`${PREFIX}bytes`).value(everyByte);
  equal('every byte', everyByte, await client.get(`${PREFIX}bytes`).serializable().buffer());
  const large = Buffer.alloc(1 << 20, 'v');
  await client.put(`${PREFIX}large`).value(large);
  equal('a value of 1 MiB', true, large.equals(await client.get(`${PREFIX}large`).buffer()));
  equal('a key exists', [true, false], [await client.get(`${PREFIX}a`).exists(), await client.get(`${PREFIX}none`).exists()]);
}

async function checkGet(client) {
  for (const [name, value] of [['g1', 'c'], ['g2', 'a'], ['g3', 'd'], ['g4', 'b']]) {
    await client.put(PREFIX + name).value(value);
  }
  const newest = await revision(client);
  await client.put(`${PREFIX}g1`).value('e');
  const all = () => client.getAll().prefix(`${PREFIX}g`);
  equal('prefix', ['e', 'a', 'd', 'b'], Object.values(await all().strings()));
  equal('count', 4, await all().count());
  equal('keys', ['g1', 'g2', 'g3', 'g4'], (await all().keys()).map((key) => key.slice(PREFIX.length)));
  equal('by key descending', ['b', 'd', 'a', 'e'], Object.values(await all().sort('Key', 'Descend').strings()));
  equal('by value', ['a', 'b', 'd', 'e'], Object.values(await all().sort('Value', 'Ascend').strings()));
  equal('by change', ['e', 'b', 'd', 'a'], Object.values(await all().sort('Mod', 'Descend').strings()));
  for (const [name, options, expected] of [
    ['limit', { limit: 2 }, ['g1=e g2=a', '4', true]],
    ['count only', { count_only: true }, ['', '4', false]],
    ['keys only', { keys_only: true }, ['g1= g2= g3= g4=', '4', false]],
    ['past revision', { revision: `${newest}` }, ['g1=c g2=a g3=d g4=b', '4', false]],
    ['newest change', { min_mod_revision: `${newest + 1n}` }, ['g1=e', '4', false]],
    ['oldest changes', { max_mod_revision: `${newest - 1n}` }, ['g2=a g3=d', '4', false]],
    ['newest creation', { min_create_revision: `${newest}` }, ['g4=b', '4', false]],
    ['oldest creation', { max_create_revision: `${newest - 3n}` }, ['g1=e', '4', false]],
    ['serializable', { serializable: true }, ['g1=e g2=a g3=d g4=b', '4', false]],
  ]) {
    const got = await range(client, options);
    equal(name, expected, [pairs(got.kvs), got.count, got.more]);
  }
}

async function checkTxn(client) {
  await client.put(`${PREFIX}t`).value('1');
  const base = await revision(client);
  const won = await client
    .if(`${PREFIX}t`, 'Value', '==', '1')
    .and(`${PREFIX}t`, 'Version', '>', 0)
    .and(`${PREFIX}t`, 'Mod', '<', Number(base) + 1)
    .then(client.put(`${PREFIX}t`).value('2'), client.get(`${PREFIX}t`), client.put(`${PREFIX}t2`).value('x'))
    .else(client.delete().key(`${PREFIX}t`))
    .commit();
  equal('the compares hold', true, won.succeeded);
  equal('a read in the transaction', '2', won.responses[1].response_range.kvs[0].value.toString());
  equal('one revision', base + 1n, await revision(client));
  const lost = await client
    .if(`${PREFIX}t`, 'Create', '!=', Number(base))
    .then(client.put(`${PREFIX}t`).value('x'))
    .else(client.delete().key(`${PREFIX}t`))
    .commit();
  equal('a compare does not hold', false, lost.succeeded);
  equal('the other branch was taken', ['1', null],
    [lost.responses[0].response_delete_range.deleted, await client.get(`${PREFIX}t`)]);
  const sum = await client.stm().transact(async (tx) => {
    const old = Number((await tx.get(`${PREFIX}n`)) ?? 41);
    await tx.put(`${PREFIX}n`).value(old + 1);
    return old + 1;
  });
  equal('a software transaction', [42, '42'], [sum, await client.get(`${PREFIX}n`).string()]);
}

async function checkDelete(client) {
  for (const name of ['d1', 'd2', 'd3', 'd4']) await client.put(PREFIX + name).value('v');
  equal('one key', 'v', (await client.delete().key(`${PREFIX}d1`).getPrevious())[0].value.toString());
  const answer = await client.kv.deleteRange({ key: bytes('d2'), range_end: bytes('d4'), prev_kv: true });
  equal('a range', ['2', 'd2=v d3=v'], [answer.deleted, pairs(answer.prev_kvs)]);
  equal('what is left of the prefix', '1', (await client.delete().prefix(`${PREFIX}d`)).deleted);
  const before = await revision(client);
  equal('nothing', '0', (await client.delete().prefix(`${PREFIX}d`)).deleted);
  equal('deleting nothing makes no revision', before, await revision(client));
}

async function checkErrors(client) {
  const { kv } = client;
  const future = 'etcdserver: mvcc: required revision is a future revision';
  const putOp = { request_put: { key: bytes('x'), value: Buffer.from('1') } };
  const getOp = { request_range: { key: bytes('x') } };
  for (const [name, code, message, call] of [
    ['put of the empty key', 'GRPCInvalidArgumentError', 'etcdserver: key is not provided', () => kv.put({ value: bytes('v') })],
    ['get of the empty key', 'GRPCInvalidArgumentError', 'etcdserver: key is not provided', () => kv.range({})],
    ['an unknown lease', 'EtcdLeaseInvalidError', 'etcdserver: requested lease not found is expired or revoked', () => kv.put({ key: bytes('x'), lease: 99 })],
    ['a request above the limit', 'GRPCInvalidArgumentError', 'etcdserver: request is too large',
      () => kv.put({ key: bytes('x'), value: Buffer.alloc(1_600_000) })],
    ['compaction of a future revision', 'GRPCOutOfRangeError', future, () => kv.compact({ revision: `${1n << 60n}` })],
    ['get of a future revision', 'GRPCOutOfRangeError', future, () => kv.range({ key: bytes('x'), revision: `${1n << 60n}` })],
    ['ignore_value of an absent key', 'GRPCInvalidArgumentError', 'etcdserver: key not found',
      () => kv.put({ key: bytes('none'), ignore_value: true })],
    ['ignore_value with a value', 'GRPCInvalidArgumentError', 'etcdserver: value is provided',
      () => kv.put({ key: bytes('a'), value: bytes('v'), ignore_value: true })],
    ['a key put twice', 'GRPCInvalidArgumentError', 'etcdserver: duplicate key given in txn request',
      () => kv.txn({ success: [putOp, putOp] })],
    ['129 operations', 'GRPCInvalidArgumentError', 'etcdserver: too many operations in txn request',
      () => kv.txn({ success: Array(129).fill(getOp) })],
    ['an operation without content', 'GRPCInvalidArgumentError', 'etcdserver: key not found', () => kv.txn({ success: [{}] })],
  ]) {
    await refused(name, code, message, call);
  }
}

// Many requests at once on one connection: their answers must not be mixed up.
async function checkConcurrent(client) {
  const requests = 200;
  const before = await revision(client);
  const right = await Promise.all([...Array(requests).keys()].map(async (i) => {
    await client.put(`${PREFIX}m${i}`).value(i);
    return (await client.get(`${PREFIX}m${i}`).number()) === i;
  }));
  equal('each request got its own answer', requests, right.filter(Boolean).length);
  equal('each put made one revision', before + BigInt(requests), await revision(client));
}

async function checkCompact(client) {
  const compacted = 'etcdserver: mvcc: required revision has been compacted';
  const old = BigInt((await client.put(`${PREFIX}k`).value('old')).header.revision);
  await client.put(`${PREFIX}k`).value('new');
  await client.kv.compact({ revision: `${old + 1n}`, physical: true });
  const at = (rev) => client.kv.range({ key: bytes('k'), revision: `${rev}` });
  await refused('get of a compacted revision', 'GRPCOutOfRangeError', compacted, () => at(old));
  await refused('compaction of a compacted revision', 'GRPCOutOfRangeError', compacted, () => client.kv.compact({ revision: `${old}` }));
  equal('the compacted revision itself is readable', 'k=new', pairs((await at(old + 1n)).kvs));
}

async function checkCluster(client) {
  const status = await client.maintenance.status();
  equal('version', '3.7.1', status.version);
  const { members } = await client.cluster.memberList({});
  equal('one member', 1, members.length);
  equal('it leads', members[0].ID, status.leader);
}

async function run(url) {
  const client = new Etcd3({ hosts: url });
  try {
    await client.kv.deleteRange({ key: Buffer.from(PREFIX), range_end: Buffer.from(END) });
    for (const check of [checkPut, checkGet, checkTxn, checkDelete, checkErrors, checkConcurrent, checkCompact, checkCluster]) {
      await check(client);
    }
  } finally {
    client.close();
  }
}

async function main() {
  if (process.argv.length !== 3) {
    console.error('usage: node check.js URL');
    process.exit(2);
  }
  const limit = setTimeout(() => {
    console.log(`FAIL ${failed + 1} of ${passed + failed + 1} checks: no end after ${RUN_LIMIT_MS} ms`);
    process.exit(1);
  }, RUN_LIMIT_MS);
  try {
    await run(process.argv[2]);
  } catch (error) {
    // Whatever it was, the run is incomplete and must be red.
    failed += 1;
    console.log(`FAIL the run was cut short\n       got: ${error.stack}`);
  }
  clearTimeout(limit);
  console.log(failed > 0 ? `FAIL ${failed} of ${passed + failed} checks` : `ok ${passed} checks`);
  process.exitCode = failed > 0 ? 1 : 0;
}

main();
