//! A panic that leaves a Rust callback is caught at the boundary: the call ends as an error, and the handles go on working.

use causerie::ffi::{config::*, dataset::*, embeddings::*, error::*, run::*};
use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

unsafe extern "C-unwind" fn panics(_: *const causerie_progress, _: *mut c_void) -> i32 {
    panic!("from the host")
}

/// The code and the message of an error, which is freed.
fn read(error: *mut causerie_error) -> (i32, String) {
    // SAFETY: rule 2 of the header: the error is ours.
    unsafe {
        let message = CStr::from_ptr(causerie_error_message(error)).to_str().unwrap().to_string();
        let code = causerie_error_code(error);
        causerie_error_free(error);
        (code, message)
    }
}

#[test]
fn a_panic_in_a_callback_is_an_error_and_the_handles_go_on() {
    let items = c"{\"item\": \"a\", \"title\": \"A\"}\n{\"item\": \"b\", \"title\": \"B\"}";
    let mut reviews = String::new();
    for i in 0..200 {
        let words = ["moving", "funny", "dull", "slow", "bright", "dark"].map(|w| format!("{w}{}", i % 7)).join(" ");
        let item = if i % 2 == 0 { "a" } else { "b" };
        reviews.push_str(&format!("{{\"item\": \"{item}\", \"text\": \"{words}\"}}\n"));
    }
    // SAFETY: the rules of the header: handles are ours and freed once, texts are valid for their lengths.
    unsafe {
        let (mut dataset, mut run, mut embeddings) = (null_mut(), null_mut(), null_mut());
        let mut config = null_mut();
        assert!(causerie_config_new(&raw mut config).is_null());
        assert!(causerie_config_set(config, c"embed.dim".as_ptr(), c"4".as_ptr()).is_null());
        assert!(causerie_dataset_new(config, &raw mut dataset).is_null());
        assert!(
            causerie_dataset_add(dataset, CAUSERIE_ITEMS, items.as_ptr(), items.to_bytes().len(), null_mut()).is_null()
        );
        assert!(
            causerie_dataset_add(dataset, CAUSERIE_REVIEWS, reviews.as_ptr().cast(), reviews.len(), null_mut())
                .is_null()
        );
        assert!(causerie_run_new(2, &raw mut run).is_null());
        assert!(causerie_run_on_progress(run, Some(panics), null_mut()).is_null());
        let (code, message) = read(causerie_embed(dataset, config, null(), run, &raw mut embeddings));
        assert_eq!(code, CAUSERIE_BUG, "{message}");
        assert!(message.contains("from the host") && message.contains("callbacks.rs"), "{message}");
        assert!(embeddings.is_null());
        assert!(causerie_run_on_progress(run, None, null_mut()).is_null());
        let again = causerie_embed(dataset, config, null(), run, &raw mut embeddings);
        assert!(again.is_null(), "{:?}", read(again));
        // A handle of another noun, and one that was not made by us, are told apart.
        let wrong = embeddings.cast::<causerie_dataset>();
        assert_eq!(causerie_dataset_count(wrong, CAUSERIE_ITEMS), 0);
        let (code, message) = read(causerie_dataset_add(wrong, CAUSERIE_ITEMS, null(), 0, null_mut()));
        assert_eq!(code, CAUSERIE_INVALID);
        assert!(message.contains("causerie_dataset"), "{message}");
        causerie_dataset_free(dataset);
        causerie_run_free(run);
        causerie_config_free(config);
        let (mut rows, mut dim) = (0, 0);
        assert!(!causerie_embeddings_data(embeddings, &raw mut rows, &raw mut dim).is_null());
        assert_eq!((rows, dim), (200, 4));
        causerie_embeddings_free(embeddings);
    }
}

extern "C-unwind" fn stops_while_told(_: *const causerie_progress, stop: *mut c_void) -> i32 {
    // SAFETY: the test gives it.
    i32::from(unsafe { (*stop.cast::<Cell<bool>>()).get() })
}

/// A callback that said stop cancelled the run for good, and with it whatever else was under way on it.
#[test]
fn a_callback_that_stops_its_call_left_the_run_cancelled() {
    let lines = br#"{"item": "a", "title": "A quiet film"}"#;
    // SAFETY: the rules of the header.
    unsafe {
        let (mut run, stop) = (null_mut(), Cell::new(true));
        assert!(causerie_run_new(1, &raw mut run).is_null());
        assert!(causerie_run_on_progress(run, Some(stops_while_told), (&raw const stop).cast_mut().cast()).is_null());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("items.jsonl");
        std::fs::write(&file, lines).unwrap();
        let file = std::ffi::CString::new(file.into_os_string().into_encoded_bytes()).unwrap();
        let add = || {
            let mut dataset = null_mut();
            assert!(causerie_dataset_new(null(), &raw mut dataset).is_null());
            let error = causerie_dataset_add_file(dataset, CAUSERIE_ITEMS, file.as_ptr(), run, null_mut());
            causerie_dataset_free(dataset);
            if error.is_null() { 0 } else { read(error).0 }
        };
        assert_eq!(add(), CAUSERIE_CANCELLED);
        stop.set(false);
        assert_eq!(add(), 0);
        // A cancel holds until it is taken back.
        causerie_run_cancel(run);
        assert_eq!((add(), add()), (CAUSERIE_CANCELLED, CAUSERIE_CANCELLED));
        causerie_run_reset(run);
        assert_eq!(add(), 0);
        causerie_run_free(run);
    }
}
