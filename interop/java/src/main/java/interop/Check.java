package interop;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.KV;
import io.etcd.jetcd.KeyValue;
import io.etcd.jetcd.kv.DeleteResponse;
import io.etcd.jetcd.kv.GetResponse;
import io.etcd.jetcd.kv.PutResponse;
import io.etcd.jetcd.kv.TxnResponse;
import io.etcd.jetcd.op.Cmp;
import io.etcd.jetcd.op.CmpTarget;
import io.etcd.jetcd.op.Op;
import io.etcd.jetcd.options.CompactOption;
import io.etcd.jetcd.options.DeleteOption;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.GetOption.SortOrder;
import io.etcd.jetcd.options.GetOption.SortTarget;
import io.etcd.jetcd.options.PutOption;
import io.grpc.Status;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * Checks an etcd server through jetcd, which is built on grpc-java over Netty: one more HTTP/2 stack.
 *
 * <p>Usage: Check URL. Prints {@code ok N checks}, or each failed check with what was expected and what came; then the exit
 * status is 1. It works below one key prefix, clears that first and compacts the store: never point it at data that matters.
 */
public final class Check {
  private static final String PREFIX = "java/";
  /** A server that hangs is a failure, not a wait. */
  private static final long ANSWER_LIMIT_SECONDS = 30;

  private final Client client;
  private final KV kv;
  private int passed;
  private int failed;

  private Check(Client client) {
    this.client = client;
    this.kv = client.getKVClient();
  }

  public static void main(String[] args) {
    if (args.length != 1) {
      System.err.println("usage: Check URL");
      System.exit(2);
    }
    try (Client client = Client.builder().endpoints(args[0]).build()) {
      Check check = new Check(client);
      check.run();
      int total = check.passed + check.failed;
      System.out.println(check.failed > 0 ? "FAIL " + check.failed + " of " + total + " checks" : "ok " + total + " checks");
      System.exit(check.failed > 0 ? 1 : 0);
    }
  }

  private interface Part {
    void run() throws Exception;
  }

  private void run() {
    List<Part> parts = List.of(this::put, this::get, this::txn, this::delete, this::errors, this::concurrent, this::compact,
        this::cluster);
    try {
      now(kv.delete(bytes(PREFIX), DeleteOption.builder().isPrefix(true).build()));
      for (Part part : parts) {
        part.run();
      }
    } catch (Exception e) {
      // Whatever it was, the run is incomplete and must be red.
      failed++;
      System.out.println("FAIL the run was cut short\n       got: " + e);
    }
  }

  private void equal(String name, Object expected, Object got) {
    if (Objects.equals(expected, got)) {
      passed++;
      return;
    }
    failed++;
    System.out.println("FAIL " + name + "\n  expected: " + expected + "\n       got: " + got);
  }

  /** The gRPC code and the text, both exactly. */
  private void refused(String name, Status.Code code, String message, CompletableFuture<?> call) {
    String got;
    try {
      got = "no error but " + now(call);
    } catch (Exception e) {
      Status status = Status.fromThrowable(e);
      got = status.getCode() + " " + status.getDescription();
    }
    equal(name, code + " " + message, got);
  }

  private static <T> T now(CompletableFuture<T> call) throws Exception {
    return call.get(ANSWER_LIMIT_SECONDS, TimeUnit.SECONDS);
  }

  private static ByteSequence bytes(String text) {
    return ByteSequence.from(text, UTF_8);
  }

  private static ByteSequence key(String name) {
    return bytes(PREFIX + name);
  }

  private static String pairs(List<KeyValue> kvs) {
    return kvs.stream()
        .map(row -> row.getKey().toString(UTF_8).substring(PREFIX.length()) + "=" + row.getValue().toString(UTF_8))
        .collect(Collectors.joining(" "));
  }

  private long revision() throws Exception {
    return now(kv.get(key("none"))).getHeader().getRevision();
  }

  private void put() throws Exception {
    long base = revision();
    PutOption previous = PutOption.builder().withPrevKV().build();
    PutResponse first = now(kv.put(key("a"), bytes("1"), previous));
    equal("a put is the next revision", base + 1, first.getHeader().getRevision());
    equal("a new key has no previous value", false, first.hasPrevKv());
    equal("the previous value", "a=1", pairs(List.of(now(kv.put(key("a"), bytes("2"), previous)).getPrevKv())));
    KeyValue row = now(kv.get(key("a"))).getKvs().get(0);
    equal("the whole row", List.of("2", 1L, 2L, 2L, 0L), List.of(row.getValue().toString(UTF_8),
        row.getCreateRevision() - base, row.getModRevision() - base, row.getVersion(), row.getLease()));
    equal("an absent key", 0L, now(kv.get(key("none"))).getCount());
    byte[] every = new byte[256];
    for (int i = 0; i < every.length; i++) {
      every[i] = (byte) i;
    }
    now(kv.put(key("bytes"), ByteSequence.from(every)));
    equal("every byte", ByteSequence.from(every), now(kv.get(key("bytes"))).getKvs().get(0).getValue());
    ByteSequence large = bytes("v".repeat(1 << 20));
    now(kv.put(key("large"), large));
    equal("a value of 1 MiB", true, large.equals(now(kv.get(key("large"))).getKvs().get(0).getValue()));
  }

  private static GetOption.Builder prefix() {
    return GetOption.builder().isPrefix(true);
  }

  private void get() throws Exception {
    for (String pair : List.of("g1=c", "g2=a", "g3=d", "g4=b")) {
      now(kv.put(key(pair.substring(0, 2)), bytes(pair.substring(3))));
    }
    long newest = revision();
    now(kv.put(key("g1"), bytes("e")));
    range("prefix", prefix(), "g1=e g2=a g3=d g4=b 4 false");
    range("range", GetOption.builder().withRange(key("g3")), "g1=e g2=a 2 false");
    range("limit", prefix().withLimit(2), "g1=e g2=a 4 true");
    range("by key descending", prefix().withSortField(SortTarget.KEY).withSortOrder(SortOrder.DESCEND),
        "g4=b g3=d g2=a g1=e 4 false");
    range("by value", prefix().withSortField(SortTarget.VALUE).withSortOrder(SortOrder.ASCEND),
        "g2=a g4=b g3=d g1=e 4 false");
    range("by change", prefix().withSortField(SortTarget.MOD).withSortOrder(SortOrder.DESCEND),
        "g1=e g4=b g3=d g2=a 4 false");
    range("keys only", prefix().withKeysOnly(true), "g1= g2= g3= g4= 4 false");
    range("count only", prefix().withCountOnly(true), " 4 false");
    range("past revision", prefix().withRevision(newest), "g1=c g2=a g3=d g4=b 4 false");
    range("serializable", prefix().withSerializable(true), "g1=e g2=a g3=d g4=b 4 false");
    range("newest change", prefix().withMinModRevision(newest + 1), "g1=e 4 false");
    range("oldest creation", prefix().withMaxCreateRevision(newest - 3), "g1=e 4 false");
  }

  private void range(String name, GetOption.Builder option, String expected) throws Exception {
    GetResponse answer = now(kv.get(key(name.equals("range") ? "g1" : "g"), option.build()));
    equal(name, expected, pairs(answer.getKvs()) + " " + answer.getCount() + " " + answer.isMore());
  }

  private void txn() throws Exception {
    now(kv.put(key("t"), bytes("1")));
    long base = revision();
    Op nested = Op.txn(new Cmp[] {new Cmp(key("t"), Cmp.Op.EQUAL, CmpTarget.version(1))},
        new Op[] {Op.put(key("t2"), bytes("nested"), PutOption.DEFAULT)}, new Op[0]);
    TxnResponse won = now(kv.txn()
        .If(new Cmp(key("t"), Cmp.Op.EQUAL, CmpTarget.value(bytes("1"))),
            new Cmp(key("t"), Cmp.Op.GREATER, CmpTarget.version(0)),
            new Cmp(key("t"), Cmp.Op.LESS, CmpTarget.modRevision(base + 1)))
        .Then(Op.put(key("t"), bytes("2"), PutOption.DEFAULT), Op.get(key("t"), GetOption.DEFAULT), nested)
        .Else(Op.delete(key("t"), DeleteOption.DEFAULT))
        .commit());
    equal("the compares hold", true, won.isSucceeded());
    equal("a read in the transaction", "t=2", pairs(won.getGetResponses().get(0).getKvs()));
    equal("the nested compare holds", true, won.getTxnResponses().get(0).isSucceeded());
    equal("one revision", base + 1, revision());
    TxnResponse lost = now(kv.txn()
        .If(new Cmp(key("t"), Cmp.Op.NOT_EQUAL, CmpTarget.createRevision(base)))
        .Then(Op.put(key("t"), bytes("x"), PutOption.DEFAULT))
        .Else(Op.delete(key("t"), DeleteOption.DEFAULT))
        .commit());
    equal("a compare does not hold", false, lost.isSucceeded());
    equal("the other branch was taken", List.of(1L, 0L),
        List.of(lost.getDeleteResponses().get(0).getDeleted(), now(kv.get(key("t"))).getCount()));
  }

  private void delete() throws Exception {
    for (String name : List.of("d1", "d2", "d3", "d4")) {
      now(kv.put(key(name), bytes("v")));
    }
    DeleteOption previous = DeleteOption.builder().withPrevKV(true).build();
    equal("one key", "d1=v", pairs(now(kv.delete(key("d1"), previous)).getPrevKvs()));
    DeleteOption range = DeleteOption.builder().withRange(key("d4")).withPrevKV(true).build();
    DeleteResponse answer = now(kv.delete(key("d2"), range));
    equal("a range", "2 d2=v d3=v", answer.getDeleted() + " " + pairs(answer.getPrevKvs()));
    DeleteOption prefix = DeleteOption.builder().isPrefix(true).build();
    equal("what is left of the prefix", 1L, now(kv.delete(key("d"), prefix)).getDeleted());
    long before = revision();
    equal("nothing", 0L, now(kv.delete(key("d"), prefix)).getDeleted());
    equal("deleting nothing makes no revision", before, revision());
  }

  private void errors() {
    Status.Code invalid = Status.Code.INVALID_ARGUMENT;
    String future = "etcdserver: mvcc: required revision is a future revision";
    ByteSequence value = bytes("v");
    Op put = Op.put(key("x"), value, PutOption.DEFAULT);
    Op get = Op.get(key("x"), GetOption.DEFAULT);
    Op[] many = new Op[129];
    java.util.Arrays.fill(many, get);
    refused("put of the empty key", invalid, "etcdserver: key is not provided", kv.put(bytes(""), value));
    refused("delete of the empty key", invalid, "etcdserver: key is not provided", kv.delete(bytes("")));
    refused("an unknown lease", Status.Code.NOT_FOUND, "etcdserver: requested lease not found",
        kv.put(key("x"), value, PutOption.builder().withLeaseId(99).build()));
    refused("a request above the limit", invalid, "etcdserver: request is too large",
        kv.put(key("x"), bytes("v".repeat(1_600_000))));
    refused("get of a future revision", Status.Code.OUT_OF_RANGE, future,
        kv.get(key("x"), GetOption.builder().withRevision(1L << 60).build()));
    refused("compaction of a future revision", Status.Code.OUT_OF_RANGE, future, kv.compact(1L << 60));
    refused("a key put twice", invalid, "etcdserver: duplicate key given in txn request", kv.txn().Then(put, put).commit());
    refused("129 operations", invalid, "etcdserver: too many operations in txn request", kv.txn().Then(many).commit());
  }

  /** Many requests at once on one connection: their answers must not be mixed up. */
  private void concurrent() throws Exception {
    int requests = 200;
    long before = revision();
    List<CompletableFuture<Boolean>> right = new ArrayList<>();
    for (int i = 0; i < requests; i++) {
      ByteSequence key = key("m" + i);
      ByteSequence value = bytes("" + i);
      right.add(kv.put(key, value).thenCompose(done -> kv.get(key))
          .thenApply(answer -> answer.getKvs().get(0).getValue().equals(value)));
    }
    int count = 0;
    for (CompletableFuture<Boolean> one : right) {
      count += now(one) ? 1 : 0;
    }
    equal("each request got its own answer", requests, count);
    equal("each put made one revision", before + requests, revision());
  }

  private void compact() throws Exception {
    String compacted = "etcdserver: mvcc: required revision has been compacted";
    long old = now(kv.put(key("k"), bytes("old"))).getHeader().getRevision();
    now(kv.put(key("k"), bytes("new")));
    now(kv.compact(old + 1, CompactOption.builder().withCompactPhysical(true).build()));
    refused("get of a compacted revision", Status.Code.OUT_OF_RANGE, compacted,
        kv.get(key("k"), GetOption.builder().withRevision(old).build()));
    refused("compaction of a compacted revision", Status.Code.OUT_OF_RANGE, compacted, kv.compact(old));
    GetResponse answer = now(kv.get(key("k"), GetOption.builder().withRevision(old + 1).build()));
    equal("the compacted revision itself is readable", "k=new", pairs(answer.getKvs()));
  }

  private void cluster() throws Exception {
    equal("one member", 1, now(client.getClusterClient().listMember()).getMembers().size());
  }
}
