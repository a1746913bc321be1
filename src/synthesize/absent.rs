//! The teacher of a batch endpoint: nobody who could be asked now. Its answers come through [`super::import_answers`].

use super::http;
use super::teacher::{Answer, Class, Failure, Request, Teacher};
use crate::config::SynthesizeConfig;
use crate::error::{Error, Result};
use crate::run::Run;

/// A teacher that is somewhere else: its answers come through [`super::import_answers`].
pub(super) struct AbsentTeacher {
    model: String,
}

impl AbsentTeacher {
    /// The model of the settings.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] without one.
    pub(super) fn new(config: &SynthesizeConfig) -> Result<AbsentTeacher> {
        if config.model.is_empty() {
            return Err(Error::invalid("synthesize.model is empty; name the model that answers"));
        }
        Ok(AbsentTeacher { model: config.model.clone() })
    }
}

impl Teacher for AbsentTeacher {
    fn name(&self) -> String {
        http::name_of(&self.model)
    }
    fn in_flight(&self) -> usize {
        1
    }
    fn answer(&self, request: &Request, _: usize, _: &Run) -> std::result::Result<Answer, Failure> {
        Err(Failure::new(
            Class::Stop,
            format!(
                "synthesize: request {} is not answered in the journal, and synthesize.base_url is empty: name an address \
                 like http://10.0.0.5:8000/v1, or export what is left (--export-requests) and import the answers",
                request.id
            ),
        ))
    }
}
