//! Who wrote which fields (`metadata.managedFields`).

use serde_json::{Value, json};

use super::compare::Comparison;
use super::fields::FieldSet;
use super::object;
use super::refusal::Refusal;

/// How fields came into an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// One manager and what it wrote last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) way: Way,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: String,
    pub(super) fields: FieldSet,
}

impl Entry {
    /// Whether both are the same manager to Kubernetes: of an update, the version
    /// counts too.
    fn is_twin(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.way == other.way
            && self.subresource == other.subresource
            && (self.way == Way::Apply || self.api_version == other.api_version)
    }

    /// `"kubectl" with subresource "status" using v1`.
    fn shown(&self) -> String {
        let mut text = format!("\"{}\"", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource \"{}\"", self.subresource));
        }
        if self.way == Way::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }

    fn decode(entry: &Value) -> Option<Self> {
        let text = |key: &str| object::text(entry, &[key]).to_owned();
        let way = match object::text(entry, &["operation"]) {
            "Apply" => Way::Apply,
            "Update" => Way::Update,
            _ => return None,
        };
        let fields = FieldSet::decode(entry.get("fieldsV1")?)?;
        Some(Self {
            manager: text("manager"),
            way,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields,
        })
    }

    fn encode(&self) -> Value {
        let way = match self.way {
            Way::Apply => "Apply",
            Way::Update => "Update",
        };
        let mut entry = json!({
            "manager": self.manager,
            "operation": way,
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.encode(),
        });
        if !self.subresource.is_empty() {
            entry["subresource"] = json!(self.subresource);
        }
        entry
    }
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Managers(Vec<Entry>);

impl Managers {
    /// Reads the managers of an object; `None` if what stands there is not a list
    /// of them.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let entries = object.pointer("/metadata/managedFields")?.as_array()?;
        // A list with one empty entry is how a client says: nobody.
        if matches!(entries.as_slice(), [only] if only.as_object().is_some_and(serde_json::Map::is_empty)) {
            return Some(Self::default());
        }
        entries.iter().map(Entry::decode).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Writes them into an object.
    pub(super) fn write(&self, object: &mut Value) {
        let entries: Vec<_> = self.0.iter().map(Entry::encode).collect();
        let entries = (!entries.is_empty()).then(|| Value::from(entries));
        object::set_metadata(object, "managedFields", entries);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody changed fields by another way than apply: they are theirs now.
    pub(super) fn updated(&mut self, writer: Entry, comparison: &Comparison) {
        if comparison.is_empty() {
            return;
        }
        for entry in self.0.iter_mut().filter(|entry| !entry.is_twin(&writer)) {
            entry.fields = entry.fields.difference(&comparison.changed).difference(&comparison.removed);
        }
        let place = self.place_of(writer);
        let own = &mut self.0[place];
        own.fields = own.fields.clone().union(&comparison.changed).difference(&comparison.removed);
        self.tidy();
    }

    /// What the applier owned before, and what everybody else owns.
    pub(super) fn shares(&self, applier: &Entry) -> (FieldSet, FieldSet) {
        let mut shares = (FieldSet::default(), FieldSet::default());
        for entry in &self.0 {
            let share = if entry.is_twin(applier) { &mut shares.0 } else { &mut shares.1 };
            share.absorb(&entry.fields);
        }
        shares
    }

    /// Somebody applied: `applier` has the fields that it owns now.
    ///
    /// # Errors
    ///
    /// 409 with the fields that others own and that would change, unless `force`
    /// takes them.
    pub(super) fn applied(&mut self, applier: Entry, comparison: &Comparison, force: bool) -> Result<(), Refusal> {
        let mut conflicts = Vec::new();
        for entry in self.0.iter_mut().filter(|entry| !entry.is_twin(&applier)) {
            let lost = entry.fields.intersection(&comparison.changed);
            conflicts.extend(lost.paths().into_iter().map(|path| (entry.shown(), path)));
            entry.fields = entry.fields.difference(&lost).difference(&comparison.removed);
        }
        if !force && !conflicts.is_empty() {
            return Err(conflict(&conflicts));
        }
        let fields = applier.fields.clone();
        let (time, api_version) = (applier.time.clone(), applier.api_version.clone());
        let place = self.place_of(Entry { fields: FieldSet::default(), ..applier });
        let own = &mut self.0[place];
        // Another value of a field that was its own before is a change too.
        if !comparison.is_empty() || own.fields != fields || own.api_version != api_version {
            (own.fields, own.time, own.api_version) = (fields, time, api_version);
        }
        self.tidy();
        Ok(())
    }

    /// The place of a manager; it is made if there is none. Its time is the present
    /// one: it is about to change.
    fn place_of(&mut self, writer: Entry) -> usize {
        match self.0.iter().position(|entry| entry.is_twin(&writer)) {
            Some(place) if writer.way == Way::Update => {
                self.0[place].time = writer.time;
                place
            }
            Some(place) => place,
            None => {
                self.0.push(Entry { fields: FieldSet::default(), ..writer });
                self.0.len() - 1
            }
        }
    }

    /// Managers that own nothing are forgotten; the others stand in Kubernetes' order.
    fn tidy(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
        self.0.sort_by(|one, other| {
            let key = |entry: &Entry| (entry.way, entry.time.clone(), entry.manager.clone(), entry.subresource.clone());
            key(one).cmp(&key(other))
        });
    }
}

/// Whether two states of an object are one but for the times at which managers
/// wrote: Kubernetes does not write then.
pub(super) fn is_same_but_for_times(one: &Value, other: &Value) -> bool {
    let metadata = |object| Value::get(object, "metadata").unwrap_or(&Value::Null);
    if !all_but("managedFields", metadata(one)).eq(all_but("managedFields", metadata(other)))
        || !all_but("metadata", one).eq(all_but("metadata", other))
    {
        return false;
    }
    let timeless = |object: &Value| {
        let Managers(entries) = Managers::read(object).unwrap_or_default();
        entries.into_iter().map(|entry| Entry { time: String::new(), ..entry }).collect::<Vec<_>>()
    };
    timeless(one) == timeless(other)
}

fn all_but<'a>(left_out: &'static str, object: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object.as_object().into_iter().flatten().filter(move |(key, _)| *key != left_out)
}

/// The refusal of an apply that meets what others own.
fn conflict(conflicts: &[(String, String)]) -> Refusal {
    let message = match conflicts {
        [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        many => {
            let mut managers: Vec<&String> = many.iter().map(|(manager, _)| manager).collect();
            managers.sort();
            managers.dedup();
            let mut lines = Vec::new();
            for manager in managers {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(many.iter().filter(|(of, _)| of == manager).map(|(_, path)| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes: Vec<_> = conflicts
        .iter()
        .map(|(manager, path)| {
            json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
        })
        .collect();
    let mut refusal = Refusal::new(409, "Conflict", message);
    refusal.details = Some(json!({"causes": causes}));
    refusal
}
