//! The host's own LLM client as a teacher: a callback per request.

use super::error::causerie_error;
use super::guard::guard;
use super::handle::{exclusive, free, new, noun};
use super::text::{c_text, text};
use super::version::UserData;
use crate::error::{Error, ErrorKind};
use crate::run::Run;
use crate::synthesize::{Answer, Class, Failure, Kind, Request, Teacher};
use std::ffi::{c_char, c_void};
use std::time::Duration;

/// What a teacher is asked. Read-only, valid in the callback alone; it grows at its end with later ABI numbers.
#[repr(C)]
pub struct causerie_request {
    /// Bytes of this struct as the library knows it
    pub size: u32,
    /// CAUSERIE_ASK_QUERY, CAUSERIE_ASK_RECOMMEND, CAUSERIE_ASK_DIALOGUE or CAUSERIE_ASK_JUDGE
    pub kind: i32,
    /// The user's message: UTF-8, NUL-terminated as well
    pub prompt: *const c_char,
    /// Bytes of the prompt
    pub prompt_len: usize,
    /// Content hash of the request, 16 hex digits: a name for batch endpoints
    pub id: *const c_char,
    /// Sampling temperature
    pub temperature: f64,
    /// Tokens of the answer at most
    pub max_tokens: u64,
    /// Seed of the sampling, for models that take one
    pub seed: u64,
    /// How often this request was tried before
    pub attempt: u64,
}

/// One query of a user is wanted per line (the first prompt of §3.3).
pub const CAUSERIE_ASK_QUERY: i32 = 0;
/// A ranked list of titles is wanted (the second prompt of §3.3); with synthesize.lists = "candidates" the prompt numbers the items to
/// choose from, and the numbers of the best are wanted.
pub const CAUSERIE_ASK_RECOMMEND: i32 = 1;
/// The lines of a planned dialogue are wanted in other words, numbered (synthesize.turns above 1).
pub const CAUSERIE_ASK_DIALOGUE: i32 = 2;
/// Three scores of a dialogue from 1 to 5 are wanted, as the prompt says (synthesize.judge = "teacher").
pub const CAUSERIE_ASK_JUDGE: i32 = 3;

/// The request will never be answered; others may be.
pub const CAUSERIE_FAIL_REFUSED: i32 = 1;
/// The teacher broke, or the connection did: try again.
pub const CAUSERIE_FAIL_BROKEN: i32 = 2;
/// Too many requests: wait, then send fewer at once.
pub const CAUSERIE_FAIL_THROTTLED: i32 = 3;

/// Where a teacher puts its answer.
pub struct causerie_answer {
    _opaque: [u8; 0],
}
noun!(causerie_answer, TeacherAnswer);

/// What the callback said; nothing yet.
#[derive(Default)]
pub(super) struct TeacherAnswer(Option<Result<Answer, Failure>>);

/// Answers a request by causerie_answer_set or causerie_answer_fail and returns 0; anything else than 0 ends the synthesis with
/// CAUSERIE_TEACHER (what was answered is kept in the journal). Called on up to synthesize.in_flight threads of the library
/// at once, all of which have ended when causerie_synthesize_with returns; set synthesize.in_flight to 1 for one at a time.
pub type causerie_teacher_fn = Option<
    unsafe extern "C-unwind" fn(
        request: *const causerie_request,
        answer: *mut causerie_answer,
        user_data: *mut c_void,
    ) -> i32,
>;

/// A callback as a teacher.
pub(super) struct Host {
    pub name: String,
    pub in_flight: usize,
    pub callback: unsafe extern "C-unwind" fn(*const causerie_request, *mut causerie_answer, *mut c_void) -> i32,
    pub data: UserData,
}

/// An answer handle that is ended in any case.
struct Slot(*mut causerie_answer);

impl Drop for Slot {
    fn drop(&mut self) {
        // The callback has returned: it may not keep it (rule 2).
        free(self.0)
    }
}

impl Teacher for Host {
    fn name(&self) -> String {
        self.name.clone()
    }
    fn in_flight(&self) -> usize {
        self.in_flight
    }
    fn answer(&self, request: &Request, attempt: usize, _: &Run) -> Result<Answer, Failure> {
        let prompt: Vec<&str> = request.messages.iter().map(|m| m.content.as_str()).collect();
        let (prompt, id) = (c_text(prompt.join("\n\n")), c_text(request.id.as_str()));
        let asked = causerie_request {
            size: size_of::<causerie_request>() as u32,
            kind: match request.kind {
                Kind::Query => CAUSERIE_ASK_QUERY,
                Kind::Recommend => CAUSERIE_ASK_RECOMMEND,
                Kind::Dialogue => CAUSERIE_ASK_DIALOGUE,
                Kind::Judge => CAUSERIE_ASK_JUDGE,
            },
            prompt: prompt.as_ptr(),
            prompt_len: prompt.as_bytes().len(),
            id: id.as_ptr(),
            temperature: request.temperature,
            max_tokens: request.max_tokens as u64,
            seed: request.seed,
            attempt: attempt as u64,
        };
        let slot = Slot(new(TeacherAnswer::default()));
        // SAFETY: rule 5 of the header; request and slot live until it returns.
        let code = unsafe { (self.callback)(&raw const asked, slot.0, self.data.get()) };
        if code != 0 {
            return Err(Failure::new(Class::Stop, format!("the teacher's callback returned {code}")));
        }
        let said = exclusive(slot.0).ok().and_then(|mut said| said.0.take());
        match said {
            Some(Ok(answer)) if answer.text.trim().is_empty() => Err(Failure {
                tokens: (answer.prompt_tokens, answer.completion_tokens),
                ..Failure::new(Class::Useless, "the teacher's callback gave an empty answer")
            }),
            Some(result) => result,
            None => {
                Err(Failure::new(Class::Stop, "the teacher's callback returned 0 without causerie_answer_set or _fail"))
            }
        }
    }
}

/// ---- 4 synthesize -----------------------------------------------------------------------------------------------
/// The teacher's answer: `len` bytes of UTF-8, and the tokens that it cost (0 where they are not known). Copied.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_answer_set(
    answer: *mut causerie_answer,
    data: *const c_char,
    len: usize,
    prompt_tokens: u64,
    completion_tokens: u64,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut said, text) = unsafe { (exclusive(answer)?, text(data, len, "answer")?) };
        said.0 = Some(Ok(Answer { text: text.to_string(), prompt_tokens, completion_tokens }));
        Ok(())
    })
}

/// No answer this time: `why` is CAUSERIE_FAIL_…, `message` what to tell people. With CAUSERIE_FAIL_THROTTLED the next try
/// waits `retry_after_ms`; 0: as the library thinks fit.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn causerie_answer_fail(
    answer: *mut causerie_answer,
    why: i32,
    retry_after_ms: u64,
    message: *const c_char,
    len: usize,
) -> *mut causerie_error {
    guard(|| {
        // SAFETY: rules 2 to 4 of the header.
        let (mut said, message) = unsafe { (exclusive(answer)?, text(message, len, "answer")?) };
        let class = match why {
            CAUSERIE_FAIL_REFUSED => Class::Refused,
            CAUSERIE_FAIL_BROKEN => Class::Broken,
            CAUSERIE_FAIL_THROTTLED => Class::Throttled,
            other => return Err(Error::new(ErrorKind::Invalid, format!("answer: there is no failure {other}"))),
        };
        let retry_after = Some(Duration::from_millis(retry_after_ms)).filter(|d| !d.is_zero());
        said.0 = Some(Err(Failure { retry_after, ..Failure::new(class, message) }));
        Ok(())
    })
}
