//! One member's record and its JSON form: the context of a conf change, the `members` bucket and `/members` all use it.

use serde_json::Value;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Member {
    pub id: u64,
    pub peer_urls: Vec<String>,
    pub is_learner: bool,
    /// Empty until the member has started and published itself.
    pub name: String,
    pub client_urls: Vec<String>,
}

impl Member {
    /// Go's field order and omissions, so that the bytes in the log are the ones a Go member would have written.
    pub fn to_json(&self) -> String {
        let list = |urls: &[String]| serde_json::to_string(urls).expect("strings always encode");
        let mut json = format!(r#"{{"id":{},"peerURLs":{}"#, self.id, list(&self.peer_urls));
        if self.is_learner {
            json.push_str(r#","isLearner":true"#);
        }
        if !self.name.is_empty() {
            json.push_str(&format!(r#","name":{}"#, Value::from(self.name.as_str())));
        }
        if !self.client_urls.is_empty() {
            json.push_str(&format!(r#","clientURLs":{}"#, list(&self.client_urls)));
        }
        json.push('}');
        json
    }

    /// Reads a member and whether the change is a promotion. None when it is not a member's JSON.
    pub fn from_json(bytes: &[u8]) -> Option<(Self, bool)> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let object = value.as_object()?;
        let strings = |key: &str| match object.get(key) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(items)) => items.iter().map(|i| i.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        let flag = |key: &str| object.get(key).and_then(Value::as_bool).unwrap_or(false);
        let member = Self {
            id: object.get("id")?.as_u64()?,
            peer_urls: strings("peerURLs")?,
            is_learner: flag("isLearner"),
            name: object.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
            client_urls: strings("clientURLs")?,
        };
        Some((member, flag("isPromote")))
    }
}
