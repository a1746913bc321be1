//! The fields of a request that not every server takes: which are sent, and what a refusal teaches about them.

use super::form;
use super::teacher::Request;
use crate::config::{OptionalField, Structured, SynthesizeConfig, TokenField};
use serde_json::{Value, json};

/// A field that a server may refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    MaxTokens,
    MaxCompletionTokens,
    Temperature,
    Seed,
    /// The server wants to stream.
    Stream,
    /// What holds an answer to its form.
    Form,
}

impl Field {
    pub(super) const ALL: [Field; 6] =
        [Field::MaxTokens, Field::MaxCompletionTokens, Field::Temperature, Field::Seed, Field::Stream, Field::Form];

    /// As it stands in a request.
    pub(super) fn name(self) -> &'static str {
        match self {
            Field::MaxTokens => "max_tokens",
            Field::MaxCompletionTokens => "max_completion_tokens",
            Field::Temperature => "temperature",
            Field::Seed => "seed",
            Field::Stream => "stream",
            Field::Form => "response_format",
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fields {
    /// [`Field::MaxTokens`] or [`Field::MaxCompletionTokens`].
    limit: Field,
    /// The other one may be tried.
    limit_open: bool,
    temperature: bool,
    seed: bool,
    stream: bool,
    form: Structured,
    /// Another one may be tried.
    form_open: bool,
}

impl Fields {
    /// As the settings say.
    pub(super) fn new(config: &SynthesizeConfig) -> Fields {
        let (limit, limit_open) = match config.token_field {
            TokenField::MaxCompletionTokens => (Field::MaxCompletionTokens, false),
            TokenField::MaxTokens => (Field::MaxTokens, false),
            TokenField::Auto => (Field::MaxTokens, true),
        };
        let sent = |field| !config.omit.contains(&field);
        let (temperature, seed) = (sent(OptionalField::Temperature), sent(OptionalField::Seed));
        let (form, form_open) = match config.structured {
            Structured::Auto => (Structured::JsonSchema, true),
            form => (form, false),
        };
        Fields { limit, limit_open, temperature, seed, stream: false, form, form_open }
    }

    /// For a batch, which nobody can refuse a field of in time: only the form that is set.
    pub(super) fn of_batch(config: &SynthesizeConfig) -> Fields {
        let fields = Fields::new(config);
        if fields.form_open { Fields { form: Structured::Off, form_open: false, ..fields } } else { fields }
    }

    /// What answers are held to.
    pub(super) fn form(self) -> Structured {
        self.form
    }

    /// The body of a request to `/chat/completions`, without `stream` where nothing is streamed.
    pub(super) fn body(&self, model: &str, request: &Request) -> Value {
        let mut body = json!({ "model": model, "messages": request.messages });
        body[self.limit.name()] = request.max_tokens.into();
        if self.temperature {
            body["temperature"] = request.temperature.into();
        }
        if self.seed {
            // Another sample after a useless answer; 31 bits survive every server.
            body["seed"] = (request.seed.wrapping_add(request.sample) & ((1 << 31) - 1)).into();
        }
        if self.stream {
            body["stream"] = true.into();
        }
        form::ask_for(self.form, request, &mut body);
        body
    }

    /// What to send to a server that refuses `field`; none: it is not sent, or there is nothing to send in its place.
    pub(super) fn without(self, field: Field) -> Option<Fields> {
        match field {
            Field::MaxTokens | Field::MaxCompletionTokens if self.limit == field && self.limit_open => {
                let limit = if field == Field::MaxTokens { Field::MaxCompletionTokens } else { Field::MaxTokens };
                Some(Fields { limit, limit_open: false, ..self })
            }
            Field::Temperature if self.temperature => Some(Fields { temperature: false, ..self }),
            Field::Seed if self.seed => Some(Fields { seed: false, ..self }),
            Field::Stream if !self.stream => Some(Fields { stream: true, ..self }),
            Field::Form if self.form_open => form::next(self.form).map(|form| Fields { form, ..self }),
            Field::MaxTokens
            | Field::MaxCompletionTokens
            | Field::Temperature
            | Field::Seed
            | Field::Stream
            | Field::Form => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::teacher::{Facts, Kind};
    use super::*;

    fn body(fields: Fields) -> Value {
        let request = Request::new("t", Kind::Query, "p".into(), "i", 0, 0.8, 10, 0, Facts::default());
        fields.body("m", &request)
    }

    #[test]
    fn what_a_server_refuses_is_left_out_and_nothing_else_changes() {
        let fields = Fields::new(&SynthesizeConfig { structured: "off".into(), ..Default::default() });
        let all = body(fields);
        assert_eq!((&all["max_tokens"], &all["temperature"]), (&json!(10), &json!(0.8)));
        let learnt = fields.without(Field::MaxTokens).unwrap();
        let sent = body(learnt);
        assert_eq!((sent.get("max_tokens"), &sent["max_completion_tokens"]), (None, &json!(10)));
        assert_eq!(learnt.without(Field::MaxCompletionTokens), None, "no way back and forth");
        let bare = learnt.without(Field::Seed).unwrap().without(Field::Temperature).unwrap();
        assert_eq!(body(bare), json!({"model": "m", "messages": all["messages"], "max_completion_tokens": 10}));
        assert_eq!(bare.without(Field::Seed), None);
        assert_eq!(body(bare.without(Field::Stream).unwrap())["stream"], json!(true));
    }

    #[test]
    fn forms_are_tried_in_turn_unless_one_is_set() {
        let mut fields = Fields::new(&SynthesizeConfig::default());
        let mut seen = vec![fields.form()];
        while let Some(next) = fields.without(Field::Form) {
            fields = next;
            seen.push(fields.form());
        }
        assert_eq!(seen, ["json_schema", "json_object", "grammar", "off"].map(Structured::from));
        let set = SynthesizeConfig { structured: "grammar".into(), ..Default::default() };
        assert_eq!(Fields::new(&set).without(Field::Form), None);
        assert_eq!(Fields::of_batch(&set).form(), Structured::Grammar);
        assert_eq!(Fields::of_batch(&SynthesizeConfig::default()).form(), Structured::Off);
    }

    #[test]
    fn settings_name_the_field_and_leave_fields_out() {
        let config = SynthesizeConfig {
            token_field: "max_completion_tokens".into(),
            omit: vec!["temperature".into(), "seed".into()],
            structured: "off".into(),
            ..Default::default()
        };
        let fields = Fields::new(&config);
        let mut names: Vec<String> = body(fields).as_object().unwrap().keys().cloned().collect();
        names.sort();
        assert_eq!(names, ["max_completion_tokens", "messages", "model"]);
        assert_eq!(fields.without(Field::MaxCompletionTokens), None, "what is set is not guessed at");
    }
}
