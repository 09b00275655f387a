//! Every format against what etcd's own `etcdctl` 3.7.1 printed of the same message. A file of `testdata/` holds the
//! message in hex and one block per format; they were captured from a server that answers with these messages.

use prost::Message;

use super::*;

const ENDPOINT: &str = "127.0.0.1:23777";

/// Blocks of a transcript: heading and body.
fn blocks(transcript: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut blocks: Vec<(String, Vec<u8>)> = Vec::new();
    for line in transcript.split_inclusive(|b| *b == b'\n') {
        match (line.strip_prefix(b"==== "), blocks.last_mut()) {
            (Some(name), _) => blocks.push((String::from_utf8_lossy(name).trim_end().to_string(), Vec::new())),
            (None, Some((_, body))) => body.extend(line),
            (None, None) => panic!("a transcript begins with a heading"),
        }
    }
    blocks
}

fn unhex(text: &[u8]) -> Vec<u8> {
    let digit = |b: u8| (b as char).to_digit(16).expect("a hex digit") as u8;
    text.trim_ascii().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn check<M: Message + Default>(name: &str, print: impl Fn(&Printer, M) -> Result<Output, Failure>) {
    let path = format!("{}/src/bin/etcdctl/testdata/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let transcript = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let blocks = blocks(&transcript);
    let bytes = unhex(&blocks[0].1);
    assert!(blocks.len() > 1, "{name} has no formats");
    for (heading, expected) in &blocks[1..] {
        let format = Format::parse(heading.split(' ').next().unwrap()).expect("a format");
        let printer = Printer { format, hex: heading.ends_with("--hex"), value_only: false };
        let mut printed = print(&printer, M::decode(bytes.as_slice()).unwrap()).unwrap().stdout;
        // The capture ends every block with a line end, empty ones included.
        if printed.last() != Some(&b'\n') {
            printed.push(b'\n');
        }
        assert_eq!(String::from_utf8_lossy(&printed), String::from_utf8_lossy(expected), "{name} as {heading}");
        assert_eq!(&printed, expected, "{name} as {heading}");
    }
}

fn answer<T>(response: T) -> Vec<Answer<T>> {
    vec![Answer { endpoint: ENDPOINT.to_string(), response }]
}

#[test]
fn key_value_answers() {
    check("put", |p, m: PutResponse| p.put(&m));
    check("put_prev", |p, m: PutResponse| p.put(&m));
    for name in ["get", "get_more", "get_none", "get_bare"] {
        check(name, |p, m: RangeResponse| p.get(&m));
    }
    check("del", |p, m: DeleteRangeResponse| p.del(&m));
    check("del_none", |p, m: DeleteRangeResponse| p.del(&m));
    for name in ["txn", "txn_failure", "txn_empty"] {
        check(name, |p, m: TxnResponse| p.txn(&m));
    }
}

#[test]
fn members() {
    check("member_list", |p, m: MemberListResponse| p.member_list(&m));
    check("member_list_none", |p, m: MemberListResponse| p.member_list(&m));
}

#[test]
fn endpoint_answers() {
    check("status", |p, m: StatusResponse| p.endpoint_status(&answer(m)));
    check("status_ill", |p, m: StatusResponse| p.endpoint_status(&answer(m)));
    check("hashkv", |p, m: HashKVResponse| p.endpoint_hashkv(&answer(m)));
}

fn print(format: Format) -> Printer {
    Printer { format, hex: false, value_only: false }
}

#[test]
fn protobuf_is_the_message_itself() {
    let message = RangeResponse { count: 3, ..RangeResponse::default() };
    assert_eq!(print(Format::Protobuf).get(&message).unwrap().stdout, message.encode_to_vec());
    let message = TxnResponse { succeeded: true, ..TxnResponse::default() };
    assert_eq!(print(Format::Protobuf).txn(&message).unwrap().stdout, message.encode_to_vec());
    let message = MemberListResponse::default();
    assert!(print(Format::Protobuf).member_list(&message).unwrap().stdout.is_empty());
}

#[test]
fn formats_a_command_does_not_have() {
    let unsupported = |result: Result<Output, Failure>| result.err().map(|f| (f.code, f.message));
    let table = Some((4, "table not supported as output format".to_string()));
    let protobuf = Some((4, "protobuf not supported as output format".to_string()));
    assert_eq!(unsupported(print(Format::Table).put(&PutResponse::default())), table);
    assert_eq!(unsupported(print(Format::Table).txn(&TxnResponse::default())), table);
    assert_eq!(unsupported(print(Format::Protobuf).endpoint_health(&[])), protobuf);
    assert_eq!(unsupported(print(Format::Protobuf).endpoint_status(&[])), protobuf);
}

#[test]
fn health() {
    let good = Health { endpoint: "a:1".into(), healthy: true, took: "4.021662ms".into(), error: String::new() };
    let bad =
        Health { endpoint: "b:1".into(), healthy: false, took: "1s".into(), error: "context deadline exceeded".into() };
    let list = [good, bad];
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let simple = print(Format::Simple).endpoint_health(&list).unwrap();
    assert_eq!(text(simple.stdout), "a:1 is healthy: successfully committed proposal: took = 4.021662ms\n");
    assert_eq!(text(simple.stderr), "b:1 is unhealthy: failed to commit proposal: context deadline exceeded\n");
    assert_eq!(
        text(print(Format::Json).endpoint_health(&list).unwrap().stdout),
        "[{\"endpoint\":\"a:1\",\"health\":true,\"took\":\"4.021662ms\"},\
         {\"endpoint\":\"b:1\",\"health\":false,\"took\":\"1s\",\"error\":\"context deadline exceeded\"}]\n"
    );
    assert_eq!(
        text(print(Format::Fields).endpoint_health(&list[..1]).unwrap().stdout),
        "\"Endpoint\" : \"a:1\"\n\"Health\" : true\n\"Took\" : 4.021662ms\n\"Error\" : \n\n"
    );
    assert_eq!(
        text(print(Format::Table).endpoint_health(&list[..1]).unwrap().stdout),
        "┌──────────┬────────┬────────────┬───────┐\n\
         │ ENDPOINT │ HEALTH │    TOOK    │ ERROR │\n\
         ├──────────┼────────┼────────────┼───────┤\n\
         │      a:1 │   true │ 4.021662ms │       │\n\
         └──────────┴────────┴────────────┴───────┘\n"
    );
    assert_eq!(text(print(Format::Json).endpoint_status(&[]).unwrap().stdout), "null\n");
}
