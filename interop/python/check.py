"""Checks an etcd server through `aetcd`, which is built on grpcio: a third HTTP/2 stack (gRPC's C core).

Usage: check.py URL. Prints `ok N checks`, or each failed check with what was expected and what came; then the exit
status is 1. It works below one key prefix, clears that first and compacts the store: never point it at data that
matters. What aetcd's own methods cannot ask for goes through its stubs.
"""

import asyncio
import sys
from urllib.parse import urlsplit

import aetcd
from aetcd import rpc

PREFIX = b"python/"
END = b"python0"
# A server that hangs is a failure, not a wait.
RUN_LIMIT_SECONDS = 60


class Tally:
    """Counts checks and prints those that failed."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def equal(self, name, expected, got):
        if expected == got:
            self.passed += 1
            return
        self.failed += 1
        print(f"FAIL {name}\n  expected: {expected!r}\n       got: {got!r}")

    async def refused(self, name, code, message, call):
        """The gRPC code and the text of the message, both exactly."""
        try:
            got = f"no error but {await call!r}"
        except rpc.AioRpcError as error:
            got = (error.code().name, error.details())
        except aetcd.ClientError as error:
            cause = error.__cause__ or error.__context__
            got = (cause.code().name, cause.details()) if isinstance(cause, rpc.AioRpcError) else repr(error)
        self.equal(name, (code, message), got)


def key(name):
    return PREFIX + name.encode()


def pairs(kvs):
    return " ".join(f"{kv.key.removeprefix(PREFIX).decode()}={kv.value.decode()}" for kv in kvs)


async def revision(client):
    return (await client.kvstub.Range(rpc.RangeRequest(key=key("none")))).header.revision


async def check_put(client, tally):
    base = await revision(client)
    first = await client.put(key("a"), b"1", prev_kv=True)
    tally.equal("a put is the next revision", base + 1, first.header.revision)
    tally.equal("a new key has no previous value", b"", first.prev_kv.value)
    second = await client.put(key("a"), b"2", prev_kv=True)
    tally.equal("the previous value", b"1", second.prev_kv.value)
    await client.kvstub.Put(rpc.PutRequest(key=key("a"), ignore_value=True))
    row = await client.get(key("a"))
    tally.equal(
        "the whole row",
        (b"2", 1, 3, 3, 0),
        (row.value, row.create_revision - base, row.mod_revision - base, row.version, row.lease),
    )
    tally.equal("an absent key", None, await client.get(key("none")))
    every_byte = bytes(range(256))
    await client.put(key("bytes"), every_byte)
    tally.equal("every byte", every_byte, (await client.get(key("bytes"), serializable=True)).value)
    large = b"v" * (1 << 20)
    await client.put(key("large"), large)
    tally.equal("a value of 1 MiB", True, (await client.get(key("large"))).value == large)
    replaced = await client.replace(key("a"), b"2", b"3")
    tally.equal("replace what is there", (True, b"3"), (replaced, (await client.get(key("a"))).value))
    tally.equal("replace what is not there", False, await client.replace(key("a"), b"2", b"4"))


async def check_get(client, tally):
    for name, value in (("g1", b"c"), ("g2", b"a"), ("g3", b"d"), ("g4", b"b")):
        await client.put(key(name), value)
    newest = await revision(client)
    await client.put(key("g1"), b"e")
    answer = await client.get_prefix(key("g"))
    tally.equal("prefix", ("g1=e g2=a g3=d g4=b", 4, False), (pairs(answer.kvs), answer.count, answer.more))
    answer = await client.get_range(key("g2"), key("g4"))
    tally.equal("range", "g2=a g3=d", pairs(answer.kvs))
    answer = await client.get_prefix(key("g"), sort_order="descend", sort_target="key")
    tally.equal("by key descending", "g4=b g3=d g2=a g1=e", pairs(answer.kvs))
    answer = await client.get_prefix(key("g"), sort_order="ascend", sort_target="value")
    tally.equal("by value", "g2=a g4=b g3=d g1=e", pairs(answer.kvs))
    answer = await client.get_prefix(key("g"), sort_order="descend", sort_target="mod")
    tally.equal("by change", "g1=e g4=b g3=d g2=a", pairs(answer.kvs))
    answer = await client.get_prefix(key("g"), keys_only=True)
    tally.equal("keys only", "g1= g2= g3= g4=", pairs(answer.kvs))
    for name, options, expected in (
        ("limit", {"limit": 2}, ("g1=e g2=a", 4, True)),
        ("count only", {"count_only": True}, ("", 4, False)),
        ("past revision", {"revision": newest}, ("g1=c g2=a g3=d g4=b", 4, False)),
        ("newest change", {"min_mod_revision": newest + 1}, ("g1=e", 4, False)),
        ("oldest changes", {"max_mod_revision": newest - 1}, ("g2=a g3=d", 4, False)),
        ("newest creation", {"min_create_revision": newest}, ("g4=b", 4, False)),
        ("oldest creation", {"max_create_revision": newest - 3}, ("g1=e", 4, False)),
        ("serializable", {"serializable": True}, ("g1=e g2=a g3=d g4=b", 4, False)),
    ):
        got = await client.kvstub.Range(rpc.RangeRequest(key=key("g"), range_end=key("h"), **options))
        tally.equal(name, expected, (pairs(got.kvs), got.count, got.more))


async def check_txn(client, tally):
    await client.put(key("t"), b"1")
    base = await revision(client)
    t = client.transactions
    succeeded, answers = await client.transaction(
        compare=[t.value(key("t")) == b"1", t.version(key("t")) > 0, t.mod(key("t")) < base + 1],
        success=[
            t.put(key("t"), b"2"),
            t.get(key("t")),
            t.txn(compare=[t.version(key("t")) == 1], success=[t.put(key("t2"), b"nested")], failure=[]),
        ],
        failure=[t.delete(key("t"))],
    )
    tally.equal("the compares hold", True, succeeded)
    tally.equal("a read in the transaction", [b"2"], [value for value, _ in answers[1]])
    tally.equal("the nested compare holds", True, answers[2].response_txn.succeeded)
    tally.equal("one revision", base + 1, await revision(client))
    succeeded, _ = await client.transaction(
        compare=[t.create(key("t")) != base], success=[t.put(key("t"), b"x")], failure=[t.delete(key("t"))]
    )
    tally.equal("a compare does not hold", False, succeeded)
    tally.equal("the other branch was taken", None, await client.get(key("t")))


async def check_delete(client, tally):
    for name in ("d1", "d2", "d3", "d4"):
        await client.put(key(name), b"v")
    answer = await client.delete(key("d1"), prev_kv=True)
    tally.equal("one key", b"v", answer.prev_kv.value)
    answer = await client.delete_range(key("d2"), key("d4"), prev_kv=True)
    tally.equal("a range", (2, "d2=v d3=v"), (answer.deleted, pairs(answer.prev_kvs)))
    tally.equal("what is left of the prefix", 1, (await client.delete_prefix(key("d"))).deleted)
    before = await revision(client)
    tally.equal("nothing", 0, (await client.delete_prefix(key("d"))).deleted)
    tally.equal("deleting nothing makes no revision", before, await revision(client))


async def check_errors(client, tally):
    kv, invalid, out = client.kvstub, "INVALID_ARGUMENT", "OUT_OF_RANGE"
    future = "etcdserver: mvcc: required revision is a future revision"
    put_op = rpc.RequestOp(request_put=rpc.PutRequest(key=key("x"), value=b"1"))
    get_op = rpc.RequestOp(request_range=rpc.RangeRequest(key=key("x")))
    for name, code, message, call in (
        ("put of the empty key", invalid, "etcdserver: key is not provided", client.put(b"", b"v")),
        ("get of the empty key", invalid, "etcdserver: key is not provided", client.get(b"")),
        ("delete of the empty key", invalid, "etcdserver: key is not provided", client.delete(b"")),
        ("an unknown lease", "NOT_FOUND", "etcdserver: requested lease not found", client.put(key("x"), b"v", lease=99)),
        ("a request above the limit", invalid, "etcdserver: request is too large", client.put(key("x"), b"v" * 1_600_000)),
        ("compaction of a future revision", out, future, client.compact(1 << 60)),
        ("get of a future revision", out, future, kv.Range(rpc.RangeRequest(key=key("x"), revision=1 << 60))),
        ("ignore_value of an absent key", invalid, "etcdserver: key not found",
         kv.Put(rpc.PutRequest(key=key("none"), ignore_value=True))),
        ("ignore_value with a value", invalid, "etcdserver: value is provided",
         kv.Put(rpc.PutRequest(key=key("a"), value=b"v", ignore_value=True))),
        ("ignore_lease with a lease", invalid, "etcdserver: lease is provided",
         kv.Put(rpc.PutRequest(key=key("a"), lease=9, ignore_lease=True))),
        ("a key put twice", invalid, "etcdserver: duplicate key given in txn request",
         kv.Txn(rpc.TxnRequest(success=[put_op, put_op]))),
        ("129 operations", invalid, "etcdserver: too many operations in txn request",
         kv.Txn(rpc.TxnRequest(success=[get_op] * 129))),
        ("an operation without content", invalid, "etcdserver: key not found",
         kv.Txn(rpc.TxnRequest(success=[rpc.RequestOp()]))),
    ):
        await tally.refused(name, code, message, call)


async def check_concurrent(client, tally):
    """Many requests at once on one connection: their answers must not be mixed up."""
    requests = 200

    async def one(i):
        await client.put(key(f"m{i:03}"), str(i).encode())
        return (await client.get(key(f"m{i:03}"))).value == str(i).encode()

    before = await revision(client)
    tally.equal("each request got its own answer", requests, sum(await asyncio.gather(*map(one, range(requests)))))
    tally.equal("each put made one revision", before + requests, await revision(client))


async def check_compact(client, tally):
    compacted = "etcdserver: mvcc: required revision has been compacted"
    old = (await client.put(key("k"), b"old")).header.revision
    await client.put(key("k"), b"new")
    await client.compact(old + 1, physical=True)
    past = client.kvstub.Range(rpc.RangeRequest(key=key("k"), revision=old))
    await tally.refused("get of a compacted revision", "OUT_OF_RANGE", compacted, past)
    await tally.refused("compaction of a compacted revision", "OUT_OF_RANGE", compacted, client.compact(old))
    answer = await client.kvstub.Range(rpc.RangeRequest(key=key("k"), revision=old + 1))
    tally.equal("the compacted revision itself is readable", "k=new", pairs(answer.kvs))


async def check_cluster(client, tally):
    status = await client.status()
    tally.equal("version", "3.7.1", status.version)
    members = [member async for member in client.members()]
    tally.equal("one member", 1, len(members))
    tally.equal("it leads", members[0].id, status.leader.id)


async def run(host, port, tally):
    async with aetcd.Client(host=host, port=port, timeout=RUN_LIMIT_SECONDS) as client:
        await client.delete_range(PREFIX, END)
        for check in (check_put, check_get, check_txn, check_delete, check_errors, check_concurrent, check_compact,
                      check_cluster):
            await check(client, tally)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check.py URL")
    url = urlsplit(sys.argv[1])
    tally = Tally()
    try:
        asyncio.run(asyncio.wait_for(run(url.hostname, url.port, tally), RUN_LIMIT_SECONDS))
    except Exception as error:  # whatever it was, the run is incomplete and must be red
        tally.failed += 1
        print(f"FAIL the run was cut short\n       got: {error!r}")
    if tally.failed:
        print(f"FAIL {tally.failed} of {tally.passed + tally.failed} checks")
        sys.exit(1)
    print(f"ok {tally.passed} checks")


if __name__ == "__main__":
    main()
