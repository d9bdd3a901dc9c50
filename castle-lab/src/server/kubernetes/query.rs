//! What a request asks for besides its path.

use super::route::decode;
use crate::Call;
use crate::kube::Refusal;

/// The parameters of a request, decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(call: &Call) -> Self {
        let pairs = call.query.as_deref().unwrap_or("").split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
                })
                .collect(),
        )
    }

    /// The first value of that name; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// `true`, `1`, or the bare name.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.has(name) && matches!(self.text(name), "" | "1" | "true" | "True")
    }

    /// A number, if it is given.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Refusal::bad_request(format!("unable to decode query parameter `{name}`: `{text}` is not a number"))
            }),
        }
    }

    /// Whether nothing shall be written.
    pub(super) fn is_dry_run(&self) -> Result<bool, Refusal> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                Err(Refusal::bad_request(format!("dryRun: Unsupported value: \"{other}\": supported values: \"All\"")))
            }
        }
    }
}

/// The form in which a client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects as they are.
    Plain,
    /// Rows with cells.
    Table,
    /// Objects without anything but their metadata.
    Metadata,
    /// The discovery document with everything.
    AggregatedDiscovery,
}

impl Form {
    /// The first acceptable form of the `Accept` header that this server can make.
    pub(super) fn of(call: &Call) -> Result<Self, Refusal> {
        let accept = call.header("accept").unwrap_or("*/*");
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or("");
            if !["application/json", "application/*", "*/*", ""].contains(&media) {
                continue;
            }
            let parameters: Vec<_> = parts.collect();
            let has = |parameter: &str| parameters.contains(&parameter);
            let form = parameters.iter().find_map(|parameter| parameter.strip_prefix("as="));
            match form {
                None => return Ok(Self::Plain),
                Some("Table") if has("v=v1") && has("g=meta.k8s.io") => return Ok(Self::Table),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if has("v=v1") => {
                    return Ok(Self::Metadata);
                }
                Some("APIGroupDiscoveryList") if has("v=v2") => return Ok(Self::AggregatedDiscovery),
                Some(_) => {}
            }
        }
        Err(Refusal::new(406, "NotAcceptable", "only the following media types are accepted: application/json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunId;

    fn call(accept: &str, query: &str) -> Call {
        Call {
            method: "GET".into(),
            path: "/api/v1/nodes".into(),
            query: Some(query.into()),
            headers: vec![("accept".into(), accept.into())],
            body: bytes::Bytes::new(),
            chunked: false,
            run: RunId::FOREIGN,
        }
    }

    #[test]
    fn the_first_form_that_can_be_made_is_taken() {
        for (accept, expected) in [
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Ok(Table)"),
            ("application/vnd.kubernetes.protobuf,application/json", "Ok(Plain)"),
            ("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json", "Ok(Plain)"),
            ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "Ok(AggregatedDiscovery)"),
            ("*/*", "Ok(Plain)"),
        ] {
            assert_eq!(format!("{:?}", Form::of(&call(accept, ""))), expected, "{accept}");
        }
        assert_eq!(Form::of(&call("text/html", "")).expect_err("no such form").code, 406);
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::of(&call("*/*", "labelSelector=app+in+%28a%2Cb%29&watch&limit=x"));
        assert_eq!(query.text("labelSelector"), "app in (a,b)");
        assert!(query.is_set("watch") && !query.is_set("follow"));
        assert_eq!(query.number("limit").expect_err("no number").code, 400);
    }
}
