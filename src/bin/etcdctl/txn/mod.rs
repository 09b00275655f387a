//! `txn`: compares and two lists of requests, read from stdin, as one transaction.
//!
//! The text is three blocks, each ended by an empty line. Nothing is sent unless all of it could be read.

mod compare;
mod words;

use std::io::BufRead;
use std::time::Instant;

use engine::pb::etcdserverpb::request_op::Request;
use engine::pb::etcdserverpb::{RequestOp, TxnRequest};
use etcd_uring::client::cli::{Command, Flag, Kind, Matches, Program, write_stdout};

use crate::failure::Failure;
use crate::print::Output;
use crate::{KEY_VALUE, del, finish, get, globals, put};

pub static COMMAND: Command = Command {
    name: "txn",
    operands: "[options]",
    short: "Processes several requests in one transaction",
    long: "Processes several requests in one transaction, which it reads from stdin: compares, the requests for when all\n\
           of them hold, and the requests for when one does not. An empty line ends each of the three lists, the last\n\
           one included. With --interactive it says which list it waits for.\n\n\
           A compare is a target, a key, an operator and a value, with blanks around the operator:\n  \
           create(\"key\") > \"0\"      c for short: revision at which the key was created, 0 if it does not exist\n  \
           mod(\"key\") = \"17\"        m for short: revision of the last change\n  \
           version(\"key\") < \"3\"     ver for short: changes since it was created\n  \
           value(\"key\") != \"text\"   val for short\n  \
           lease(\"key\") = \"694d\"    ID of the lease, in hexadecimal\n\n\
           A request is a get, put or del as typed after `etcdctl`, with its flags. Text in double quotes may hold\n\
           \\n, \\\" and \\x00; text in single quotes is taken as it is.",
    example: "  etcdctl txn -i\n  \
              printf 'mod(\"lock\") = \"0\"\\n\\nput lock mine\\n\\nget lock\\n\\n' | etcdctl txn\n",
    group: KEY_VALUE,
    flags: &[Flag::new("interactive", Kind::Bool, "false", "say which list is read next").short("i")],
    run: Some(run),
    ..Command::EMPTY
};

/// The commands a line of the lists may hold.
static REQUESTS: Command =
    Command { name: "txn", children: &[&put::COMMAND, &get::COMMAND, &del::COMMAND], ..Command::EMPTY };

static LINE: Program = Program {
    root: &REQUESTS,
    groups: &[],
    help_group: "",
    prefix_matching: true,
    list_shared_flags: true,
    footer: "",
    exit_usage: 1,
};

fn run(matches: &Matches) -> u8 {
    finish(txn(matches, &mut std::io::stdin().lock()))
}

fn txn(matches: &Matches, stdin: &mut impl BufRead) -> Result<Output, Failure> {
    if !matches.args.is_empty() {
        return Err(Failure::bad_args("txn command does not accept argument"));
    }
    let globals = globals(matches)?;
    let mut client = globals.client()?;
    let prompt = |text: &str| {
        if matches.bool("interactive") {
            write_stdout(text.as_bytes());
        }
    };
    let request = read(stdin, prompt)?;
    // A person may take their time to type: the time to answer starts now.
    let deadline: Instant = globals.deadline();
    globals.printer.txn(&client.txn(&request, deadline)?)
}

fn read(stdin: &mut impl BufRead, prompt: impl Fn(&str)) -> Result<TxnRequest, Failure> {
    prompt("compares:\n");
    let compare = block(stdin, compare::parse)?;
    prompt("success requests (get, put, del):\n");
    let success = block(stdin, parse_request)?;
    prompt("failure requests (get, put, del):\n");
    let failure = block(stdin, parse_request)?;
    Ok(TxnRequest { compare, success, failure })
}

/// Lines up to an empty one.
fn block<T>(stdin: &mut impl BufRead, parse: impl Fn(&[u8]) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    let mut list = Vec::new();
    loop {
        let mut line = Vec::new();
        stdin.read_until(b'\n', &mut line).map_err(|error| Failure::invalid_input(error.to_string()))?;
        if line.last() != Some(&b'\n') {
            return Err(Failure::invalid_input("EOF"));
        }
        match line.trim_ascii() {
            b"" => return Ok(list),
            line => list.push(parse(line)?),
        }
    }
}

fn parse_request(line: &[u8]) -> Result<RequestOp, Failure> {
    let shown = String::from_utf8_lossy(line);
    let words = words::split(line)?;
    if words.len() < 2 {
        return Err(Failure::invalid_input(format!("invalid txn compare request: {shown}")));
    }
    let unknown = || Failure::invalid_input(format!("invalid txn request: {shown}"));
    let matches = LINE.matches_of(words).ok_or_else(unknown)?;
    let request = match matches.path.last().expect("a command").name {
        // Stdin is where this text comes from, so there is nothing on it for a value.
        "put" => Request::Put(put::request(&matches, &mut std::io::empty())?),
        "get" => Request::Range(get::request(&matches)?),
        "del" => {
            let request = del::request(&matches)?;
            del::time_for_regret(&matches);
            Request::DeleteRange(request)
        }
        other => unreachable!("{other} is not in the table"),
    };
    Ok(RequestOp { request: Some(request) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pb::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};
    use std::cell::RefCell;

    fn parse(text: &str) -> Result<TxnRequest, (u8, String)> {
        read(&mut text.as_bytes(), |_| ()).map_err(|f| (f.code, f.message))
    }

    fn requests(text: &str) -> Vec<Request> {
        let txn = parse(&format!("\n{text}\n\n\n")).unwrap();
        txn.success.into_iter().map(|op| op.request.unwrap()).collect()
    }

    #[test]
    fn three_lists() {
        let prompts = RefCell::new(String::new());
        let text = " mod(\"a\") > \"0\" \r\nver(\"a\") = \"1\"\n\nput a b\n\nget a\nget b\n\nrest";
        let txn = read(&mut text.as_bytes(), |p| prompts.borrow_mut().push_str(p)).unwrap();
        assert_eq!((txn.compare.len(), txn.success.len(), txn.failure.len()), (2, 1, 2));
        let said = "compares:\nsuccess requests (get, put, del):\nfailure requests (get, put, del):\n";
        assert_eq!(prompts.into_inner(), said);
        for text in ["", "\n", "\n\n", "\nput a b\n", "\n\nput a b", "mod(\"a\") > \"0\""] {
            assert_eq!(parse(text).unwrap_err(), (3, "EOF".to_string()), "{text:?}");
        }
    }

    #[test]
    fn requests_as_typed() {
        let put = |key: &'static str, value: &'static str| PutRequest {
            key: key.into(),
            value: value.into(),
            ..PutRequest::default()
        };
        assert_eq!(requests("put k \"two\\nlines\""), [Request::Put(put("k", "two\nlines"))]);
        assert_eq!(requests("p 'a b' c'd"), [Request::Put(put("a b", "c'd"))]);
        assert_eq!(requests("put -- -k -v"), [Request::Put(put("-k", "-v"))]);
        let range = RangeRequest { key: "k".into(), range_end: "l".into(), limit: 3, ..RangeRequest::default() };
        assert_eq!(requests("get --prefix k --limit=3"), [Request::Range(range)]);
        let delete = DeleteRangeRequest { key: "k".into(), prev_kv: true, ..DeleteRangeRequest::default() };
        assert_eq!(requests("del k --prev-kv"), [Request::DeleteRange(delete)]);
        // Flags of one line do not reach the next.
        let [Request::Range(first), Request::Range(second)] = &requests("get k --prefix\nget k")[..] else {
            panic!("two ranges");
        };
        assert_eq!((first.range_end.as_ref(), second.range_end.as_ref()), (&b"l"[..], &b""[..]));
    }

    #[test]
    fn mistakes() {
        for (line, code, text) in [
            ("put", 3, "invalid txn compare request: put"),
            ("foo bar", 3, "invalid txn request: foo bar"),
            ("put a b -w json", 3, "invalid txn request: put a b -w json"),
            ("put a", 128, "put command needs 1 argument and input from stdin or 2 arguments"),
            ("put \"abc", 128, "put command needs 1 argument and input from stdin or 2 arguments"),
            ("put \"\\q\" b", 3, "invalid syntax"),
            ("get a --consistency=q", 4, "unknown consistency flag \"q\""),
            ("get --help", 3, "invalid txn request: get --help"),
        ] {
            assert_eq!(parse(&format!("\n{line}\n\n\n")).unwrap_err(), (code, text.to_string()), "{line}");
        }
    }
}
