//! What leaves of the trail: events written anew, with pseudonyms for personal values and names hidden in
//! public ones.
//!
//! A source whose metadata cannot be understood stays here as a whole: nobody could say which of its values
//! are personal.

use std::io::{Cursor, Read, Seek};

use foretrace_report::Class;
use foretrace_report::bundle::{BundleError, BundleReader, BundleWriter};
use foretrace_report::schema::Problem;
use foretrace_ring::Trail;
use foretrace_ring::trail::{EventType, FieldType, Privacy, Value, rewrite};

use super::{Redaction, Rule};

/// What stands before the path of a source file in metadata. Quotes within names are escaped there, so that
/// no name can contain it.
const PATH_OPENS: &str = "model.emf.uri = \"";

/// The entries of one `trace/<source>/`.
pub(super) struct Source {
    pub(super) names: Vec<String>,
}

/// The sources of a bundle, in its order.
pub(super) fn sources(names: &[String]) -> Vec<Source> {
    let mut sources: Vec<(String, Source)> = Vec::new();
    for name in names {
        let Some(rest) = name.strip_prefix("trace/") else { continue };
        let folder = rest.rsplit_once('/').map_or("", |(folder, _)| folder);
        match sources.iter_mut().find(|(known, _)| known == folder) {
            Some((_, source)) => source.names.push(name.clone()),
            None => sources.push((folder.to_owned(), Source { names: vec![name.clone()] })),
        }
    }
    sources.into_iter().map(|(_, source)| source).collect()
}

impl Redaction<'_> {
    /// Adds what may leave of a granted source; what may not stays here, with a problem for each thing.
    pub(super) fn trail<R: Read + Seek>(
        &mut self,
        bundle: &mut BundleReader<R>,
        source: &Source,
        writer: &mut BundleWriter<Cursor<Vec<u8>>>,
    ) -> Result<Vec<Problem>, BundleError> {
        let is_metadata = |name: &str| name.rsplit('/').next() == Some("metadata");
        let metadata = source
            .names
            .iter()
            .find(|name| is_metadata(name))
            .and_then(|name| Some((name, String::from_utf8(bundle.part(name).ok()?).ok()?)));
        let hidden = metadata.and_then(|(name, text)| Some((name, self.metadata(&text)?, text)));
        let Some((metadata_name, hidden, original)) = hidden else {
            self.withhold_all(&source.names, Class::Trail);
            let folder =
                source.names.first().and_then(|name| name.rsplit_once('/')).map_or("trace", |(f, _)| f);
            return Ok(vec![Problem::new(
                folder,
                "The trail's description could not be understood, so that its personal values could not be found: \
                 this source of the trail was left out.",
            )]);
        };
        writer.add(metadata_name, hidden.as_bytes())?;
        let mut problems = Vec::new();
        for name in source.names.iter().filter(|name| *name != metadata_name) {
            let rewritten = match bundle.part(name) {
                Ok(content) if name.ends_with(".ctf") => self.stream(&original, &content),
                Ok(_) => Err("it is no stream of events".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match rewritten {
                Ok((bytes, losses)) => {
                    writer.add(name, &bytes)?;
                    problems.extend(losses.into_iter().map(|what| Problem::new(name.as_str(), what)));
                }
                Err(why) => {
                    self.withhold_all(std::slice::from_ref(name), Class::Trail);
                    problems.push(Problem::new(name.as_str(), format!("The part was left out: {why}.")));
                }
            }
        }
        Ok(problems)
    }

    fn stream(&mut self, metadata: &str, content: &[u8]) -> Result<(Vec<u8>, Vec<String>), String> {
        let (salt, rules, removed) = (self.salt, &self.rules.text, &mut self.removed);
        let mut replace = |_: &EventType, field: &FieldType, value: &Value| match (field.privacy, value) {
            (Privacy::Personal, _) => {
                removed.count(Rule::Personal, 1);
                Some(salt.value(value))
            }
            (Privacy::Secret, _) => {
                removed.count(Rule::Secret, 1);
                Some(Value::Withheld)
            }
            (Privacy::Public, Value::Text(text)) => match rules.hide(text.as_bytes(), salt, removed) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(hidden) => {
                    Some(Value::Text(String::from_utf8_lossy(&hidden).into_owned()))
                }
            },
            (Privacy::Public, Value::Bytes(bytes)) => match rules.hide(bytes, salt, removed) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(hidden) => Some(Value::Bytes(hidden)),
            },
            (Privacy::Public, _) => None,
        };
        match rewrite(metadata, content, &mut replace) {
            Ok(rewritten) => Ok((rewritten.bytes, rewritten.problems)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Hides names in the paths of source files, the only texts of the metadata that come from a person's
    /// machine: the names of events are the program's, like those of its functions. `None` where it is no
    /// metadata, before or after.
    fn metadata(&mut self, text: &str) -> Option<String> {
        let mut hidden = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(PATH_OPENS) {
            let (path, behind) = after.split_at_checked(end_of_quote(after)?)?;
            hidden.push_str(before);
            hidden.push_str(PATH_OPENS);
            hidden.push_str(&String::from_utf8_lossy(
                &self.rules.text.names.hide(path.as_bytes(), &mut self.removed),
            ));
            rest = behind;
        }
        hidden.push_str(rest);
        let shape = |text: &str| {
            let trail = Trail::decode(text, &[]);
            let fields = |kind: &EventType| (kind.id, kind.fields.clone());
            (trail.problems.len(), trail.types.iter().map(fields).collect::<Vec<_>>())
        };
        let (before, after) = (shape(text), shape(&hidden));
        let understood = before.0 == 0 || !before.1.is_empty();
        (understood && before == after).then_some(hidden)
    }
}

fn end_of_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}
