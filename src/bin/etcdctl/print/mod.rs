//! What commands print, in the five formats of `--write-out`. Everything is collected in memory and written by the
//! command in one go, so that a printer can be tested as a function.

mod fields;
mod json;
mod protobuf;
mod simple;
mod table;

use engine::pb::etcdserverpb::{
    DeleteRangeResponse, HashKVResponse, Member, MemberListResponse, PutResponse, RangeResponse, StatusResponse,
    TxnResponse,
};
use etcd_uring::client::gotext;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Simple,
    Fields,
    Json,
    Protobuf,
    Table,
}

impl Format {
    pub fn parse(name: &str) -> Option<Format> {
        Some(match name {
            "simple" => Format::Simple,
            "fields" => Format::Fields,
            "json" => Format::Json,
            "protobuf" => Format::Protobuf,
            "table" => Format::Table,
            _ => return None,
        })
    }

    fn unsupported(self) -> Failure {
        let name = match self {
            Format::Simple => "simple",
            Format::Fields => "fields",
            Format::Json => "json",
            Format::Protobuf => "protobuf",
            Format::Table => "table",
        };
        Failure::bad_feature(format!("{name} not supported as output format"))
    }
}

/// Health of one endpoint.
pub struct Health {
    pub endpoint: String,
    pub healthy: bool,
    pub took: String,
    pub error: String,
}

/// An endpoint and what it answered.
pub struct Answer<T> {
    pub endpoint: String,
    pub response: T,
}

/// What a command prints. Diagnostics of the command itself go to stderr.
#[derive(Default)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

pub struct Printer {
    pub format: Format,
    /// Keys, values and ids in hex.
    pub hex: bool,
    /// Only the values of pairs (simple format).
    pub value_only: bool,
}

impl Printer {
    pub fn put(&self, response: &PutResponse) -> Result<Output, Failure> {
        self.rpc(
            |out| simple::put(out, self, response),
            |out| fields::put(out, self.hex, response),
            || json::put(response),
            response,
        )
    }

    pub fn get(&self, response: &RangeResponse) -> Result<Output, Failure> {
        self.rpc(
            |out| simple::get(out, self, response),
            |out| fields::get(out, self.hex, response),
            || json::get(response),
            response,
        )
    }

    pub fn del(&self, response: &DeleteRangeResponse) -> Result<Output, Failure> {
        self.rpc(
            |out| simple::del(out, self, response),
            |out| fields::del(out, self.hex, response),
            || json::del(response),
            response,
        )
    }

    pub fn txn(&self, response: &TxnResponse) -> Result<Output, Failure> {
        self.rpc(
            |out| simple::txn(out, self, response),
            |out| fields::txn(out, self.hex, response),
            || json::txn(response),
            response,
        )
    }

    pub fn member_list(&self, response: &MemberListResponse) -> Result<Output, Failure> {
        if self.format == Format::Table {
            let columns = ["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"];
            let stdout = table::render(&columns, &member_rows(response));
            return Ok(Output { stdout, ..Output::default() });
        }
        self.rpc(
            |out| simple::rows(out, &member_rows(response)),
            |out| fields::member_list(out, self.hex, response),
            || json::member_list(self.hex, response),
            response,
        )
    }

    /// Answers of a single call have every format but table.
    fn rpc(
        &self,
        simple: impl FnOnce(&mut Vec<u8>),
        fields: impl FnOnce(&mut Vec<u8>),
        json: impl FnOnce() -> String,
        message: &impl prost::Message,
    ) -> Result<Output, Failure> {
        let mut out = Output::default();
        match self.format {
            Format::Simple => simple(&mut out.stdout),
            Format::Fields => fields(&mut out.stdout),
            Format::Json => out.stdout = json_line(json()),
            Format::Protobuf => out.stdout = protobuf::message(message),
            Format::Table => return Err(self.format.unsupported()),
        }
        Ok(out)
    }

    pub fn endpoint_health(&self, list: &[Health]) -> Result<Output, Failure> {
        let mut out = Output::default();
        match self.format {
            Format::Simple => simple::endpoint_health(&mut out, list),
            Format::Fields => fields::endpoint_health(&mut out.stdout, list),
            Format::Json => out.stdout = json_line(json::endpoint_health(list)),
            Format::Table => out.stdout = table::render(&health_columns(), &health_rows(list)),
            Format::Protobuf => return Err(self.format.unsupported()),
        }
        Ok(out)
    }

    pub fn endpoint_status(&self, list: &[Answer<StatusResponse>]) -> Result<Output, Failure> {
        let mut out = Output::default();
        match self.format {
            Format::Simple => simple::rows(&mut out.stdout, &status_rows(list)),
            Format::Fields => fields::endpoint_status(&mut out.stdout, self.hex, list),
            Format::Json => out.stdout = json_line(json::endpoint_status(list)),
            Format::Table => out.stdout = table::render(&status_columns(), &status_rows(list)),
            Format::Protobuf => return Err(self.format.unsupported()),
        }
        Ok(out)
    }

    pub fn endpoint_hashkv(&self, list: &[Answer<HashKVResponse>]) -> Result<Output, Failure> {
        let mut out = Output::default();
        match self.format {
            Format::Simple => simple::rows(&mut out.stdout, &hashkv_rows(list)),
            Format::Fields => fields::endpoint_hashkv(&mut out.stdout, self.hex, list),
            Format::Json => out.stdout = json_line(json::endpoint_hashkv(list)),
            Format::Table => out.stdout = table::render(&["endpoint", "hash", "hash revision"], &hashkv_rows(list)),
            Format::Protobuf => return Err(self.format.unsupported()),
        }
        Ok(out)
    }
}

fn json_line(mut text: String) -> Vec<u8> {
    text.push('\n');
    text.into_bytes()
}

fn member_rows(response: &MemberListResponse) -> Vec<Vec<String>> {
    let row = |m: &Member| {
        vec![
            format!("{:x}", m.id),
            // A member takes its name to the cluster when it starts.
            if m.name.is_empty() { "unstarted" } else { "started" }.to_string(),
            m.name.clone(),
            m.peer_urls.join(","),
            m.client_urls.join(","),
            m.is_learner.to_string(),
        ]
    };
    response.members.iter().map(row).collect()
}

fn health_columns() -> [&'static str; 4] {
    ["endpoint", "health", "took", "error"]
}

fn health_rows(list: &[Health]) -> Vec<Vec<String>> {
    list.iter().map(|h| vec![h.endpoint.clone(), h.healthy.to_string(), h.took.clone(), h.error.clone()]).collect()
}

fn status_columns() -> [&'static str; 16] {
    [
        "endpoint",
        "ID",
        "version",
        "storage version",
        "db size",
        "in use",
        "percentage not in use",
        "quota",
        "is leader",
        "is learner",
        "raft term",
        "raft index",
        "raft applied index",
        "errors",
        "downgrade target version",
        "downgrade enabled",
    ]
}

fn status_rows(list: &[Answer<StatusResponse>]) -> Vec<Vec<String>> {
    let row = |answer: &Answer<StatusResponse>| {
        let r = &answer.response;
        let member_id = r.header.as_ref().map_or(0, |h| h.member_id);
        let downgrade = r.downgrade_info.clone().unwrap_or_default();
        // An empty database would be a division by zero; Go's tool panics there.
        let used_percent = r.db_size_in_use.wrapping_mul(100).checked_div(r.db_size).unwrap_or(0);
        vec![
            answer.endpoint.clone(),
            format!("{member_id:x}"),
            r.version.clone(),
            r.storage_version.clone(),
            gotext::bytes_si(r.db_size as u64),
            gotext::bytes_si(r.db_size_in_use as u64),
            format!("{}%", 100i64.wrapping_sub(used_percent)),
            gotext::bytes_si(r.db_size_quota as u64),
            (r.leader == member_id).to_string(),
            r.is_learner.to_string(),
            r.raft_term.to_string(),
            r.raft_index.to_string(),
            r.raft_applied_index.to_string(),
            r.errors.join(", "),
            downgrade.target_version,
            downgrade.enabled.to_string(),
        ]
    };
    list.iter().map(row).collect()
}

fn hashkv_rows(list: &[Answer<HashKVResponse>]) -> Vec<Vec<String>> {
    let row = |a: &Answer<HashKVResponse>| {
        vec![a.endpoint.clone(), a.response.hash.to_string(), a.response.hash_revision.to_string()]
    };
    list.iter().map(row).collect()
}

#[cfg(test)]
mod tests;
