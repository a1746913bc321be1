// causerie.h: from reviews to a conversational recommender of your own: load, embed, select, synthesize, tune, recommend,
// evaluate. Generated from src/ffi by cbindgen; do not edit. SPDX-License-Identifier: MIT OR Apache-2.0
//
// Five rules hold for every function below.
// 1 errors     A call that can fail returns causerie_error*: NULL is success. Outputs are written only on success.
// 2 ownership  `T **out` is yours: end it with its _free (NULL is fine). A handle is a number that names what it stands for,
//              not an address. One that is freed while a call uses it is closed at once, and goes with that call; a freed
//              one is CAUSERIE_CLOSED, anything else that is no handle CAUSERIE_INVALID. A returned const pointer is
//              borrowed from the handle and lives until that handle is freed. Inputs are copied before the call returns,
//              and no handle keeps another one: free them in any order. A number that is written beside a result (count, score, row, …)
//              may be NULL where it is not needed.
// 3 threads    No handle is tied to a thread. Calls with `const T *` may be made from many threads at once; a call with `T *`
//              needs the handle alone: beside another call one of the two is refused with CAUSERIE_BUSY, and nothing was
//              done (a function without an error gives 0 or NULL then). _free may be called at any time.
//              After fork() handles made before it still serve in the child; its threads are made anew. (Fork while no
//              call is under way.)
// 4 text       UTF-8 as (pointer, length), (NULL, 0) is empty; paths, keys and names are NUL-terminated. Returned text is
//              NUL-terminated UTF-8.
// 5 callbacks  Run on the thread that made the call, before it returns (log: any thread; teacher: threads of the library,
//              before the call returns). 0 goes on, anything else stops. They must not longjmp, nor end their thread, nor
//              call in again with the same handle but to poll and cancel. A C++ exception that leaves one ends the process (std::terminate
//              or abort): catch it inside, as causerie.hpp does.
// A panic inside the library never crosses this boundary: it is CAUSERIE_BUG with its message; what llama.cpp throws is an
// error as well. The library writes nothing to stdout or stderr, and never exits.
//
// The loop in short, errors left out (examples/c/loop.c has it in full); run and config may be NULL:
//   causerie_config_new(&config);
//   causerie_config_read(config, toml, strlen(toml));                                       // the keys: causerie_config_setting
//   causerie_dataset_import(config, run, &dataset);                                         // 1 load; or from memory: _add, _add_arrow
//   causerie_embed(dataset, config, NULL, run, &embeddings);                                // 2 embed
//   causerie_select(dataset, embeddings, NULL, config, run, &selection);                    // 3 select
//   causerie_synthesize(dataset, selection, config, 1, NULL, run, &dialogues);              // 4 synthesize
//   causerie_tune(dialogues, dataset, embeddings, config, run, &model);                     // 5 tune
//   causerie_recommender_new(dataset, embeddings, model, NULL, config, run, &recommender);  // 6 recommend
//   causerie_query_new(&query);
//   causerie_query_turn(query, CAUSERIE_USER, words, strlen(words));
//   causerie_recommend_query(recommender, query, 10, run, &reply);                          // or JSON in and out: causerie_recommend
//   causerie_evaluate(&recommender, 1, NULL, 0, config, run, &report);                      // 7 evaluate
// Or all of it into a folder, resumable: causerie_pipeline(config, "work", 0, run, NULL), and in the service
// causerie_recommender_open("work", NULL, config, run, &recommender).


#ifndef CAUSERIE_H
#define CAUSERIE_H

#include <stddef.h>
#include <stdint.h>

#define CAUSERIE_VERSION "0.1.0"   // of this header; causerie_version() is that of the library linked

#if defined(__GNUC__)
#define CAUSERIE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define CAUSERIE_MUST_CHECK
#endif

// The Arrow C Data Interface and C Stream Interface, as their specification says to copy them
// (https://arrow.apache.org/docs/format/CDataInterface.html).
#ifdef __cplusplus
extern "C" {
#endif
#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_DICTIONARY_ORDERED 1
#define ARROW_FLAG_NULLABLE 2
#define ARROW_FLAG_MAP_KEYS_SORTED 4
struct ArrowSchema {
  const char *format;
  const char *name;
  const char *metadata;
  int64_t flags;
  int64_t n_children;
  struct ArrowSchema **children;
  struct ArrowSchema *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};
struct ArrowArray {
  int64_t length;
  int64_t null_count;
  int64_t offset;
  int64_t n_buffers;
  int64_t n_children;
  const void **buffers;
  struct ArrowArray **children;
  struct ArrowArray *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};
#endif
#ifndef ARROW_C_STREAM_INTERFACE
#define ARROW_C_STREAM_INTERFACE
struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream *, struct ArrowSchema *out);
  int (*get_next)(struct ArrowArrayStream *, struct ArrowArray *out);
  const char *(*get_last_error)(struct ArrowArrayStream *);
  void (*release)(struct ArrowArrayStream *);
  void *private_data;
};
#endif
#ifdef __cplusplus
}
#endif


// The caller asked for something that cannot be: a bad setting, a NULL handle, a shape that does not fit.
#define CAUSERIE_INVALID 1

// A file, an item or a key that is not there.
#define CAUSERIE_NOT_FOUND 2

// The operating system refused: permissions, a full disk.
#define CAUSERIE_IO 3

// Data from outside that does not parse or does not hold together.
#define CAUSERIE_FORMAT 4

// The teacher did not answer, or did not answer usefully.
#define CAUSERIE_TEACHER 5

// A limit on memory would be passed.
#define CAUSERIE_MEMORY 6

// The caller cancelled, or a callback asked to stop; what was finished is kept.
#define CAUSERIE_CANCELLED 7

// This build or this machine cannot do it.
#define CAUSERIE_UNSUPPORTED 8

// Another call uses this handle at this moment, and one of the two needs it alone. Nothing was done: call again later, or give
// each thread a handle of its own.
#define CAUSERIE_BUSY 9

// The handle was freed. Nothing was done.
#define CAUSERIE_CLOSED 10

// A defect of causerie: a panic that was caught. The handles of that call can still be freed.
#define CAUSERIE_BUG 99

// The number of the binary interface. It grows when a function or a struct changes so that old callers break.
#define CAUSERIE_ABI 2

// Log levels: something failed.
#define CAUSERIE_LOG_ERROR 1

// Something is not as the user will have meant it; work goes on.
#define CAUSERIE_LOG_WARN 2

// What is being done.
#define CAUSERIE_LOG_INFO 3

// For those who look for a fault.
#define CAUSERIE_LOG_DEBUG 4

// The catalogue.
#define CAUSERIE_ITEMS 0

// Reviews of its items.
#define CAUSERIE_REVIEWS 1

// Interactions with its items.
#define CAUSERIE_INTERACTIONS 2

// One query of a user is wanted per line (the first prompt of §3.3).
#define CAUSERIE_ASK_QUERY 0

// A ranked list of titles is wanted (the second prompt of §3.3); with synthesize.lists = "candidates" the prompt numbers the items to
// choose from, and the numbers of the best are wanted.
#define CAUSERIE_ASK_RECOMMEND 1

// The lines of a planned dialogue are wanted in other words, numbered (synthesize.turns above 1).
#define CAUSERIE_ASK_DIALOGUE 2

// Three scores of a dialogue from 1 to 5 are wanted, as the prompt says (synthesize.judge = "teacher").
#define CAUSERIE_ASK_JUDGE 3

// The request will never be answered; others may be.
#define CAUSERIE_FAIL_REFUSED 1

// The teacher broke, or the connection did: try again.
#define CAUSERIE_FAIL_BROKEN 2

// Too many requests: wait, then send fewer at once.
#define CAUSERIE_FAIL_THROTTLED 3

// Who speaks: the person who seeks.
#define CAUSERIE_USER 0

// Who speaks: the recommender.
#define CAUSERIE_ASSISTANT 1

// Where a teacher puts its answer.
typedef struct causerie_answer causerie_answer;

// What to do: the settings of every stage.
typedef struct causerie_config causerie_config;

// Stage 1, load: items, reviews, interactions.
typedef struct causerie_dataset causerie_dataset;

// Stage 4, synthesize: training pairs (a query, its ranked items).
typedef struct causerie_dialogues causerie_dialogues;

// Stage 2, embed: f32 [rows, dim], row-major, one row per review; and what made them.
typedef struct causerie_embeddings causerie_embeddings;

// What went wrong: a code and a message. Immutable; any thread may read it.
typedef struct causerie_error causerie_error;

// Stage 5, tune: a ranking head, or the files of a tuned language model.
typedef struct causerie_model causerie_model;

// A request: what was said, what was seen, what may come back. It belongs to no recommender; any may be asked with it.
typedef struct causerie_query causerie_query;

// Stage 6, recommend: ranks the catalogue for a conversation. `const` functions may run on many threads at once.
typedef struct causerie_recommender causerie_recommender;

// One answer: ranked items.
typedef struct causerie_reply causerie_reply;

// What came of an evaluation, or of the whole loop.
typedef struct causerie_report causerie_report;

// One call under way: its threads, its progress, its cancellation.
typedef struct causerie_run causerie_run;

// Stage 3, select: seed rows, most informative first.
typedef struct causerie_selection causerie_selection;

// Gets one line of the log: `len` bytes of UTF-8, NUL-terminated as well. Any thread; keep it short.
typedef void (*causerie_log_fn)(int32_t level, const char *text, size_t len, void *user_data);

// One setting. All texts are static. The struct grows at its end with later ABI numbers.
typedef struct {
  // "select.budget"
  const char *key;
  // "integer", "number", "text", "boolean" or "list" (`a,b` or `["a", "b"]` in causerie_config_set)
  const char *kind;
  // The default, as TOML
  const char *initial;
  // Bounds or choices in words; "" when there are none
  const char *bounds;
  // What it does
  const char *doc;
} causerie_setting;

// How far a call is. Read-only; it grows at its end with later ABI numbers.
typedef struct {
  // Bytes of this struct as the library knows it
  uint32_t size;
  // 1 while a call runs or has ended by itself, 0 before the first report
  int32_t started;
  // The stage at work: "import", "embed", "select", … Static; "" before the first report
  const char *stage;
  // What is counted: "reviews", "picks", "requests", … Static
  const char *unit;
  // Units finished
  uint64_t done;
  // Units in all; 0: unknown
  uint64_t total;
  // Seconds since the stage began
  double seconds;
  // Seconds left at the pace so far; NaN: unknown
  double seconds_left;
  // A short text (the loss, the spend so far); "" when there is none. Valid in the callback alone; "" in a poll
  const char *note;
} causerie_progress;

// Gets the progress, on the thread that made the call. 0 goes on, anything else stops this call, which ends with
// CAUSERIE_CANCELLED; other calls of the run go on.
typedef int32_t (*causerie_progress_fn)(const causerie_progress *progress, void *user_data);

// Gets a piece of text while a language model writes it, on the thread that made the call: `len` bytes of UTF-8 in whole
// characters, NUL-terminated as well. An empty piece says that the answer is at its end; the next one begins another.
// 0 goes on, anything else stops this call, which ends with CAUSERIE_CANCELLED.
typedef int32_t (*causerie_token_fn)(const char *text, size_t len, void *user_data);

// What a teacher is asked. Read-only, valid in the callback alone; it grows at its end with later ABI numbers.
typedef struct {
  // Bytes of this struct as the library knows it
  uint32_t size;
  // CAUSERIE_ASK_QUERY, CAUSERIE_ASK_RECOMMEND, CAUSERIE_ASK_DIALOGUE or CAUSERIE_ASK_JUDGE
  int32_t kind;
  // The user's message: UTF-8, NUL-terminated as well
  const char *prompt;
  // Bytes of the prompt
  size_t prompt_len;
  // Content hash of the request, 16 hex digits: a name for batch endpoints
  const char *id;
  // Sampling temperature
  double temperature;
  // Tokens of the answer at most
  uint64_t max_tokens;
  // Seed of the sampling, for models that take one
  uint64_t seed;
  // How often this request was tried before
  uint64_t attempt;
} causerie_request;

// Answers a request by causerie_answer_set or causerie_answer_fail and returns 0; anything else than 0 ends the synthesis with
// CAUSERIE_TEACHER (what was answered is kept in the journal). Called on up to synthesize.in_flight threads of the library
// at once, all of which have ended when causerie_synthesize_with returns; set synthesize.in_flight to 1 for one at a time.
typedef int32_t (*causerie_teacher_fn)(const causerie_request *request, causerie_answer *answer, void *user_data);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// ---- Errors ----------------------------------------------------------------------------------------------------
// The code: one of CAUSERIE_INVALID … CAUSERIE_BUG; 0 for NULL. The numbers are frozen; expect new ones.
int32_t causerie_error_code(const causerie_error *error);

// The message: stage, file and line, cause, what to do. "" for NULL. Borrowed from the error.
const char *causerie_error_message(const causerie_error *error);

// Ends an error; NULL is fine.
void causerie_error_free(causerie_error *error);

// ---- The library ------------------------------------------------------------------------------------------------
// CAUSERIE_ABI of the library that is linked. Refuse to run when it differs from your header's.
uint32_t causerie_abi(void);

// Handles of this process that are not freed: 0 once everything was ended. For tests that look for leaks; it looks at all.
size_t causerie_handles(void);

// What is linked: "causerie/0.1.0 llama-cpp-sys-2/0.1.161 cpu/avx2,fma,f16c,bmi2". Static text. A CPU that lacks one of
// these is named with what it has; the language model's functions then fail with CAUSERIE_UNSUPPORTED, the others work.
const char *causerie_version(void);

// Fails with CAUSERIE_UNSUPPORTED when the library linked is not one that `header_version` and `header_abi` fit: call it
// once at start as causerie_check_version(CAUSERIE_VERSION, CAUSERIE_ABI).
CAUSERIE_MUST_CHECK
causerie_error *causerie_check_version(const char *header_version,
                                       uint32_t header_abi);

// Sends the log of the whole process to `callback`, lines up to `max_level` (CAUSERIE_LOG_…); NULL ends it. Silent until
// called. The library itself writes nothing to stdout or stderr. The callback must not call causerie_log.
void causerie_log(causerie_log_fn callback,
                  void *user_data,
                  int32_t max_level);

// ---- Settings ---------------------------------------------------------------------------------------------------
// New settings, every key at its documented default. Wherever a function takes settings, NULL means the defaults.
CAUSERIE_MUST_CHECK causerie_error *causerie_config_new(causerie_config **out);

// Sets `key` from text: ("select.budget", "500"). Lists: `a,b` or TOML. CAUSERIE_INVALID for an unknown key (the
// message names the nearest known one) and for a value out of bounds; nothing is changed then.
CAUSERIE_MUST_CHECK causerie_error *causerie_config_set(causerie_config *config, const char *key, const char *value);

// Reads TOML over the current values: "[select]\nbudget = 500". As causerie_config_set for errors; all or nothing.
CAUSERIE_MUST_CHECK causerie_error *causerie_config_read(causerie_config *config, const char *toml, size_t len);

// The value of `key` as TOML (texts in quotes). Borrowed from the settings.
CAUSERIE_MUST_CHECK
causerie_error *causerie_config_get(const causerie_config *config,
                                    const char *key,
                                    const char **out);

// All settings as a TOML file that causerie_config_read reads. Borrowed from the settings.
CAUSERIE_MUST_CHECK causerie_error *causerie_config_toml(const causerie_config *config, const char **out);

// How many settings there are.
size_t causerie_config_count(void);

// Setting `i` of the table, static; NULL past the end.
const causerie_setting *causerie_config_setting(size_t i);

// Ends settings; NULL is fine.
void causerie_config_free(causerie_config *config);

// ---- Runs -------------------------------------------------------------------------------------------------------
// A run on `threads` threads; 0: what the settings of the call say (run.threads), and where they say nothing what the
// CPU quota of the container gives. CAUSERIE_INVALID for more than 1,024. Wherever a function takes a run, NULL means: no
// progress, no cancelling. One run serves any number of calls, one after another; calls at the same time share its cancel
// and mix their progress.
CAUSERIE_MUST_CHECK
causerie_error *causerie_run_new(uint32_t threads,
                                 causerie_run **out);

// Reports to `callback` from the next call on; NULL: to nobody.
CAUSERIE_MUST_CHECK
causerie_error *causerie_run_on_progress(const causerie_run *run,
                                         causerie_progress_fn callback,
                                         void *user_data);

// Hands the text of language models to `callback` while they write it, from the next call on; NULL: to nobody. Those that
// write are the teacher that is a GGUF (synthesize.teacher = "local") and a recommender with recommend.mode = "generate".
CAUSERIE_MUST_CHECK
causerie_error *causerie_run_on_token(const causerie_run *run,
                                      causerie_token_fn callback,
                                      void *user_data);

// Writes how far the call is to the first `size` bytes of `out` (give sizeof *out): any thread, any time.
CAUSERIE_MUST_CHECK causerie_error *causerie_run_poll(const causerie_run *run, causerie_progress *out, size_t size);

// Ends the calls of this run at their next step, with CAUSERIE_CANCELLED: any thread, any time. NULL is fine. The run stays
// cancelled until causerie_run_reset.
void causerie_run_cancel(const causerie_run *run);

// Takes back a cancel, so that the run serves again.
void causerie_run_reset(const causerie_run *run);

// Ends a run; NULL is fine. Calls under way on it go on to their end.
void causerie_run_free(causerie_run *run);

// ---- 1 load -----------------------------------------------------------------------------------------------------
// An empty dataset, filled by the settings of `dataset.*` (format, what is kept). Add the items first; where there are
// none, items are made of the bare ids that reviews and interactions name.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_new(const causerie_config *config,
                                     causerie_dataset **out);

// Reads the files that the settings name (dataset.items, .reviews, .interactions; plain, .gz, .zst), in parallel, holding
// no more than the dataset itself. Writes how many rows were left out to `dropped` (may be NULL); causerie_dataset_report says
// why. CAUSERIE_NOT_FOUND, CAUSERIE_FORMAT with file and line.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_import(const causerie_config *config,
                                        const causerie_run *run,
                                        causerie_dataset **out,
                                        size_t *dropped);

// Adds `len` bytes of JSON lines (or CSV with column names, for interactions) to a table (CAUSERIE_ITEMS, …): what stands
// in such a file. Adds all of it or, when it fails, nothing. Bad lines up to dataset.max_bad_lines are passed over, and so are
// repeated items, rows about unknown items (dataset.unknown_items) and short reviews (dataset.min_review_chars): their number
// is written to `dropped` (may be NULL), and causerie_dataset_report says why. CAUSERIE_FORMAT where nothing is left because
// rows are bad or about unknown items.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_add(causerie_dataset *dataset,
                                     int32_t table,
                                     const char *lines,
                                     size_t len,
                                     size_t *dropped);

// Adds a file to a table: plain, .gz or .zst. As causerie_dataset_add.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_add_file(causerie_dataset *dataset,
                                          int32_t table,
                                          const char *file,
                                          const causerie_run *run,
                                          size_t *dropped);

// Adds an Arrow struct array (a record batch) to a table. Columns by name, in any order, others ignored: items: item (or
// id), title, year, genres, creators, keywords, description, price, attributes; reviews: item, user, rating10 (or rating, of
// five), title, text, timestamp_ms, helpful; interactions: user, item, rating10 (or rating), timestamp_ms. Texts are Utf8,
// LargeUtf8, Utf8View or a dictionary of these; genres, creators and keywords a text or a list of texts; attributes a struct or
// a map of texts, numbers or lists of texts, or a JSON object as text; numbers any integer, float (f16 too) or decimal; times
// integers in ms, Arrow timestamps or dates. Both structs are taken: their release callbacks are called before this returns,
// whatever it returns (unless one of them is NULL or released already). Adds all or nothing; `dropped` as of
// causerie_dataset_add.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_add_arrow(causerie_dataset *dataset,
                                           int32_t table,
                                           struct ArrowSchema *schema,
                                           struct ArrowArray *array,
                                           size_t *dropped);

// Adds all batches of an Arrow stream to a table, as causerie_dataset_add_arrow. The stream is taken: released before this
// returns.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_add_arrow_stream(causerie_dataset *dataset,
                                                  int32_t table,
                                                  struct ArrowArrayStream *stream,
                                                  const causerie_run *run,
                                                  size_t *dropped);

// How many rows a table has; 0 for NULL and for a table that does not exist.
size_t causerie_dataset_count(const causerie_dataset *dataset, int32_t table);

// "Title (1999)" of item `i` (its id where it has no title); NULL past the end. Borrowed from the dataset.
const char *causerie_dataset_title(const causerie_dataset *dataset, size_t i);

// What was kept and what was left out, as JSON: {"summary": {"items", "reviews", …}, "bad_lines", "bad_examples",
// "unknown_reviews", …}. Borrowed from the dataset.
CAUSERIE_MUST_CHECK causerie_error *causerie_dataset_report(const causerie_dataset *dataset, const char **out);

// Writes the dataset into `folder`, all or nothing.
CAUSERIE_MUST_CHECK causerie_error *causerie_dataset_save(const causerie_dataset *dataset, const char *folder);

// Reads what causerie_dataset_save (or `causerie import --out`) wrote. Lengths, hashes and row numbers are checked.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dataset_load(const char *folder,
                                      const causerie_config *config,
                                      causerie_dataset **out);

// Writes a simulated domain into `folder`: items.jsonl, reviews.jsonl (.gz or .zst by simulate.compress),
// interactions.csv, conversations.jsonl. The settings of `simulate.*` say how much. To try the rest without data.
CAUSERIE_MUST_CHECK
causerie_error *causerie_simulate(const causerie_config *config,
                                  const char *folder,
                                  const causerie_run *run);

// Ends a dataset; NULL is fine. What was made of it goes on working.
void causerie_dataset_free(causerie_dataset *dataset);

// ---- 2 embed ----------------------------------------------------------------------------------------------------
// Embeds every review: [reviews, dim], unit length (paper §3.2). The settings of `embed.*` say how: "text" is built in,
// "lm" takes the GGUF embed.model. `folder` keeps the rows and the fitted embedder, so that an embedding that was stopped
// goes on, and one that is finished is read; NULL or "" keeps nothing: files of the moment lie in a private folder (0700)
// under TMPDIR, which goes when the call ends. Rows are as embed.store keeps them ("f16" and "i8" are rounded so in memory as
// well).
CAUSERIE_MUST_CHECK
causerie_error *causerie_embed(const causerie_dataset *dataset,
                               const causerie_config *config,
                               const char *folder,
                               const causerie_run *run,
                               causerie_embeddings **out);

// Embeds the reviews of shard `index` (from 0) of `count` alone, so that many machines share the work: each has the same
// dataset and settings, and a `folder` in which it leaves embeddings-I-of-N.safetensors, a shard that was stopped goes on.
// Rows are, bit for bit, those of causerie_embed. Once all shards lie in the folder its embeddings.json lists them, for
// causerie_embeddings_open. Writes how many are still to be made to `missing` (may be NULL).
CAUSERIE_MUST_CHECK
causerie_error *causerie_embed_shard(const causerie_dataset *dataset,
                                     const causerie_config *config,
                                     const char *folder,
                                     size_t index,
                                     size_t count,
                                     const causerie_run *run,
                                     size_t *missing);

// Lists `count` finished shards that were brought together in `folder` (embeddings.json); writes how many are not there to
// `missing` (may be NULL): with any, nothing is written. CAUSERIE_FORMAT for shards that do not belong together.
CAUSERIE_MUST_CHECK
causerie_error *causerie_embed_join(const char *folder,
                                    size_t count,
                                    size_t *missing);

// Rows of your own, copied: `data` is [rows, dim], row-major. No row may be zeros or hold NaN. They can be selected on;
// tuning and recommending need rows of causerie_embed.
CAUSERIE_MUST_CHECK
causerie_error *causerie_embeddings_from_rows(const float *data,
                                              size_t rows,
                                              size_t dim,
                                              causerie_embeddings **out);

// Rows from an Arrow array: lists of f32, f64 or f16, fixed-size (+w:DIM) or of one length (+l, +L), or a struct with one such
// column. No nulls. Both structs are taken, as by causerie_dataset_add_arrow.
CAUSERIE_MUST_CHECK
causerie_error *causerie_embeddings_from_arrow(struct ArrowSchema *schema,
                                               struct ArrowArray *array,
                                               causerie_embeddings **out);

// The same from an Arrow stream, which is taken.
CAUSERIE_MUST_CHECK
causerie_error *causerie_embeddings_from_arrow_stream(struct ArrowArrayStream *stream,
                                                      causerie_embeddings **out);

// Opens rows too many for memory: a safetensors file in f32, f16, bf16, f64 or i8 with scales, or the list of the shards of
// one embedding (`causerie embed --shard`, `--join`). The file is mapped and read as rows are needed; it must not be changed
// while the handle lives. For causerie_select and its kin alone; what is selected is exact for the values as they are stored.
CAUSERIE_MUST_CHECK
causerie_error *causerie_embeddings_open(const char *file,
                                         causerie_embeddings **out);

// The values, [rows, dim], row-major; `rows` and `dim` may be NULL. Borrowed from the embeddings. NULL for NULL, and for rows
// of causerie_embeddings_open, whose numbers alone are told.
const float *causerie_embeddings_data(const causerie_embeddings *embeddings,
                                      size_t *rows,
                                      size_t *dim);

// Writes the rows to a safetensors file: one f32 tensor "embeddings" [rows, dim].
CAUSERIE_MUST_CHECK causerie_error *causerie_embeddings_save(const causerie_embeddings *embeddings, const char *file);

// The same with values of another kind, as embed.store says: "f32", "f16" (half the bytes, three digits) or "i8" (a quarter,
// one scale a row). What it writes causerie_embeddings_open maps. It takes mapped rows as well, and passes over them once.
CAUSERIE_MUST_CHECK
causerie_error *causerie_embeddings_pack(const causerie_embeddings *embeddings,
                                         const char *store,
                                         const char *file,
                                         const causerie_run *run);

// Ends embeddings; NULL is fine. What was made of them goes on working.
void causerie_embeddings_free(causerie_embeddings *embeddings);

// ---- 3 select ---------------------------------------------------------------------------------------------------
// Selects select.budget rows by select.strategy (paper §3.2). `dataset` may be NULL for "random", "js" and "fisher" without
// caps per item and per user. `earlier`: a selection to continue to the larger budget, or NULL; its picks come first. The
// same arguments give the same picks whatever the threads; ties go to the lowest row. CAUSERIE_MEMORY, before anything is
// begun, where more memory would be needed than select.max_memory_bytes allows.
CAUSERIE_MUST_CHECK
causerie_error *causerie_select(const causerie_dataset *dataset,
                                const causerie_embeddings *embeddings,
                                const causerie_selection *earlier,
                                const causerie_config *config,
                                const causerie_run *run,
                                causerie_selection **out);

// causerie_select with its picks so far kept in the file `checkpoint` (NULL or "": none), every select.checkpoint_s seconds
// and when it is cancelled: the same call goes on from there and ends with the same picks; then the file is removed.
// CAUSERIE_INVALID for a checkpoint of another selection.
CAUSERIE_MUST_CHECK
causerie_error *causerie_select_keeping(const causerie_dataset *dataset,
                                        const causerie_embeddings *embeddings,
                                        const causerie_selection *earlier,
                                        const char *checkpoint,
                                        const causerie_config *config,
                                        const causerie_run *run,
                                        causerie_selection **out);

// Writes the centres of K-means over all rows to `file`, as "js", "metadata_js" and "user_js" make them: for select.centers,
// here or on other machines.
CAUSERIE_MUST_CHECK
causerie_error *causerie_select_centers(const causerie_dataset *dataset,
                                        const causerie_embeddings *embeddings,
                                        const causerie_config *config,
                                        const causerie_run *run,
                                        const char *file);

// A selection that several machines share, the first of three calls: part `part` (from 0) of `parts` selects select.budget
// of its own rows, and writes its picks to `file`. Every machine has the same embeddings (mapped ones cost no memory) and
// settings. "js" fits its clusters from all rows in every part, unless select.centers holds them; "metadata_js" and "user_js"
// need select.centers (causerie_select_centers).
CAUSERIE_MUST_CHECK
causerie_error *causerie_select_part(const causerie_dataset *dataset,
                                     const causerie_embeddings *embeddings,
                                     uint64_t part,
                                     uint64_t parts,
                                     const causerie_config *config,
                                     const causerie_run *run,
                                     const char *file);

// The second call: lays the picks of all parts, `count` files of causerie_select_part, together in the file `merged`.
// CAUSERIE_INVALID for parts of different selections or on different centres, and where one is missing or there twice.
CAUSERIE_MUST_CHECK
causerie_error *causerie_select_merge(const char *const *files,
                                      size_t count,
                                      const char *merged);

// The third call: selects from what causerie_select_merge wrote to `merged`; "fisher" certifies it over all rows. Dataset,
// embeddings and settings as of causerie_select_part, else CAUSERIE_INVALID. select.compare_whole says whether the report is to
// tell what the parts lost against the selection from all rows.
CAUSERIE_MUST_CHECK
causerie_error *causerie_select_finalise(const causerie_dataset *dataset,
                                         const causerie_embeddings *embeddings,
                                         const char *merged,
                                         const causerie_config *config,
                                         const causerie_run *run,
                                         causerie_selection **out);

// The selected rows, most informative first: [count]. Borrowed from the selection. NULL for NULL.
const uint64_t *causerie_selection_rows(const causerie_selection *selection, size_t *count);

// What each pick added: [count], nats (0 for "random"). Borrowed from the selection. NULL for NULL.
const double *causerie_selection_gains(const causerie_selection *selection, size_t *count);

// Objective, certificate, settings, and as "cost" the time and memory it took, as JSON; "{}" for a selection that was loaded.
// Borrowed from the selection.
const char *causerie_selection_report(const causerie_selection *selection);

// Writes `selection.jsonl`: {"rank", "row", "gain"} a line.
CAUSERIE_MUST_CHECK causerie_error *causerie_selection_save(const causerie_selection *selection, const char *file);

// Reads what causerie_selection_save wrote.
CAUSERIE_MUST_CHECK causerie_error *causerie_selection_load(const char *file, causerie_selection **out);

// Ends a selection; NULL is fine.
void causerie_selection_free(causerie_selection *selection);

// ---- 4 synthesize -----------------------------------------------------------------------------------------------
// The teacher's answer: `len` bytes of UTF-8, and the tokens that it cost (0 where they are not known). Copied.
CAUSERIE_MUST_CHECK
causerie_error *causerie_answer_set(causerie_answer *answer,
                                    const char *data,
                                    size_t len,
                                    uint64_t prompt_tokens,
                                    uint64_t completion_tokens);

// No answer this time: `why` is CAUSERIE_FAIL_…, `message` what to tell people. With CAUSERIE_FAIL_THROTTLED the next try
// waits `retry_after_ms`; 0: as the library thinks fit.
CAUSERIE_MUST_CHECK
causerie_error *causerie_answer_fail(causerie_answer *answer,
                                     int32_t why,
                                     uint64_t retry_after_ms,
                                     const char *message,
                                     size_t len);

// Makes dialogues of the selected reviews (paper §3.3, Algorithm 2) with the teacher of the settings (synthesize.teacher:
// "offline" is built in, "http" an endpoint, "local" a GGUF). `round` stands in each dialogue and is part of what it is
// drawn by. `journal` is a file that keeps every request and answer: a second call asks only what is not in it. NULL or ""
// keeps nothing. CAUSERIE_TEACHER when the teacher cannot be reached or no dialogue came out.
CAUSERIE_MUST_CHECK
causerie_error *causerie_synthesize(const causerie_dataset *dataset,
                                    const causerie_selection *selection,
                                    const causerie_config *config,
                                    uint64_t round,
                                    const char *journal,
                                    const causerie_run *run,
                                    causerie_dialogues **out);

// causerie_synthesize with your own teacher: `callback` answers each request. `teacher` names it in every dialogue and in
// the journal: answers of two names never mix.
CAUSERIE_MUST_CHECK
causerie_error *causerie_synthesize_with(const causerie_dataset *dataset,
                                         const causerie_selection *selection,
                                         const char *teacher,
                                         causerie_teacher_fn callback,
                                         void *user_data,
                                         const causerie_config *config,
                                         uint64_t round,
                                         const char *journal,
                                         const causerie_run *run,
                                         causerie_dialogues **out);

// For a batch endpoint, whose tokens are cheaper: writes every request of causerie_synthesize that can be made now and is
// not answered in `journal` to `file`, JSON lines of OpenAI's batch format; nothing is sent. Queries come first; after their
// answers (causerie_synthesize_import) export again for the lists, then causerie_synthesize on the same journal makes the
// dialogues. Writes the numbers of requests written, and of those answered already, to `requests` and `answered` (may be
// NULL). CAUSERIE_INVALID unless synthesize.teacher is "http".
CAUSERIE_MUST_CHECK
causerie_error *causerie_synthesize_export(const causerie_dataset *dataset,
                                           const causerie_selection *selection,
                                           const causerie_config *config,
                                           const char *journal,
                                           const char *file,
                                           const causerie_run *run,
                                           uint64_t *requests,
                                           uint64_t *answered);

// Takes a batch endpoint's answers (JSON lines, plain, .gz or .zst) into `journal`. What cannot be used is logged and asked
// again by the next export. Writes the numbers of answers taken, and of requests still without one, to `taken` and `missing`
// (may be NULL). CAUSERIE_FORMAT when no line is an answer; CAUSERIE_INVALID when all are another journal's.
CAUSERIE_MUST_CHECK
causerie_error *causerie_synthesize_import(const char *journal,
                                           const char *answers,
                                           const causerie_run *run,
                                           uint64_t *taken,
                                           uint64_t *missing);

// How many dialogues there are; 0 for NULL.
size_t causerie_dialogues_count(const causerie_dialogues *dialogues);

// Dialogue `i` as JSON: {"id", "messages": [{"role", "content"}], "items": [id, …], "seed", "teacher", "round"}. Borrowed
// from the dialogues; NULL past the end.
const char *causerie_dialogues_get(const causerie_dialogues *dialogues,
                                   size_t i);

// Requests, tokens, cost, what was dropped and why, as JSON; for dialogues that were loaded "{}", or {"bad_lines": n} where
// lines were passed over. Borrowed.
const char *causerie_dialogues_report(const causerie_dialogues *dialogues);

// Appends the dialogues of a later round.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dialogues_add(causerie_dialogues *dialogues,
                                       const causerie_dialogues *more);

// Writes JSON lines in chat format, all or nothing.
CAUSERIE_MUST_CHECK causerie_error *causerie_dialogues_save(const causerie_dialogues *dialogues, const char *file);

// Reads what causerie_dialogues_save (or a work directory's dialogues.jsonl) holds. A line that is no dialogue is passed
// over, logged and counted in `dropped` (may be NULL); CAUSERIE_FORMAT when none is one.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dialogues_load(const char *file,
                                        causerie_dialogues **out,
                                        size_t *dropped);

// The same from `len` bytes of JSON lines in memory.
CAUSERIE_MUST_CHECK
causerie_error *causerie_dialogues_parse(const char *jsonl,
                                         size_t len,
                                         causerie_dialogues **out,
                                         size_t *dropped);

// Ends dialogues; NULL is fine.
void causerie_dialogues_free(causerie_dialogues *dialogues);

// ---- 5 tune -----------------------------------------------------------------------------------------------------
// Tunes a ranking head on the dialogues (tune.method = "head"): seconds to minutes, no language model. The embeddings are
// those of causerie_embed over the same dataset.
CAUSERIE_MUST_CHECK
causerie_error *causerie_tune(const causerie_dialogues *dialogues,
                              const causerie_dataset *dataset,
                              const causerie_embeddings *embeddings,
                              const causerie_config *config,
                              const causerie_run *run,
                              causerie_model **out);

// Fine-tunes the language model at `base` (a GGUF) on the dialogues (paper §3.4; tune.method = "lora" or "full") into
// `folder`: adapter.gguf and adapter/ (PEFT), or model.gguf, proven through llama.cpp; checkpoints while it is under way, so
// that a second call goes on. With a `dataset` (NULL: none) tune.objective "items" and "both" train a ranking head along,
// and Recall is measured. CAUSERIE_MEMORY before anything is loaded when it would not fit; CAUSERIE_UNSUPPORTED on a CPU
// without AVX2, FMA, F16C and BMI2.
CAUSERIE_MUST_CHECK
causerie_error *causerie_tune_lm(const causerie_dialogues *dialogues,
                                 const causerie_dataset *dataset,
                                 const char *base,
                                 const char *folder,
                                 const causerie_config *config,
                                 const causerie_run *run,
                                 causerie_model **out);

// A language model from nothing, of about so many `parameters` (500,000 to some tens of millions), for those who have none:
// a GGUF at `file` whose vocabulary is learned from the dataset's reviews, its weights drawn by tune.seed. With a `folder`
// it is then trained on all tokens of the reviews by the settings of tune.*, into folder/model.gguf, which is the model's file
// then; checkpoints as of causerie_tune_lm. NULL or "": it knows no word yet, and serves only to be tuned.
CAUSERIE_MUST_CHECK
causerie_error *causerie_model_new(const causerie_dataset *dataset,
                                   uint64_t parameters,
                                   const causerie_config *config,
                                   const char *file,
                                   const char *folder,
                                   const causerie_run *run,
                                   causerie_model **out);

// Merges a LoRA adapter (a GGUF, or a PEFT folder) into its base: one GGUF at `file`, of `kind` "f32", "f16", "bf16" or a
// quantisation of llama.cpp's ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"). It is proven through llama.cpp; the model's report
// says how near it is. CAUSERIE_INVALID for an adapter of another base, or one that changes nothing.
CAUSERIE_MUST_CHECK
causerie_error *causerie_model_merge(const char *base,
                                     const char *adapter,
                                     const char *kind,
                                     const char *file,
                                     const causerie_run *run,
                                     causerie_model **out);

// Losses, steps, what was kept, as JSON; "{}" for a model that was loaded. Borrowed from the model.
const char *causerie_model_report(const causerie_model *model);

// Of a language model: the file that was made, adapter.gguf or model.gguf; NULL for a ranking head. Borrowed.
const char *causerie_model_file(const causerie_model *model);

// Writes a ranking head to a file. CAUSERIE_INVALID for a language model: its files are in their folder already.
CAUSERIE_MUST_CHECK causerie_error *causerie_model_save(const causerie_model *model, const char *file);

// Reads a ranking head that causerie_model_save wrote.
CAUSERIE_MUST_CHECK causerie_error *causerie_model_load(const char *file, causerie_model **out);

// Ends a model; NULL is fine. Files of a language model stay.
void causerie_model_free(causerie_model *model);

// ---- 6 recommend: queries ---------------------------------------------------------------------------------------
// An empty query. The functions below fill it, without JSON; causerie_recommend_query asks it. Kept between the turns of a
// conversation, it grows by a turn at a time.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_new(causerie_query **out);

// A query of `len` bytes of JSON, as causerie_recommend takes them. CAUSERIE_INVALID where it does not parse.
CAUSERIE_MUST_CHECK causerie_error *causerie_query_parse(const char *request, size_t len, causerie_query **out);

// Adds the next turn: `role` is CAUSERIE_USER or CAUSERIE_ASSISTANT, `words` what was said, `len` bytes. What a turn names
// does not come back.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_turn(causerie_query *query,
                                    int32_t role,
                                    const char *words,
                                    size_t len);

// Adds an item that the user has seen, by its id, `len` bytes: it tells of taste, and does not come back. One that is not in
// the catalogue is passed over.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_seen(causerie_query *query,
                                    const char *id,
                                    size_t len);

// The same by title, `len` bytes, and year of release (0: unknown), as people and other catalogues name it.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_seen_title(causerie_query *query,
                                          const char *title,
                                          size_t len,
                                          uint32_t year);

// Adds an id that must not come back, `len` bytes. One that is not in the catalogue is passed over (the log tells).
CAUSERIE_MUST_CHECK causerie_error *causerie_query_exclude(causerie_query *query, const char *id, size_t len);

// Adds `count` items that must not come back, by their rows (the order of causerie_recommender_id; items that are added
// while it serves come behind). A row past the end is CAUSERIE_INVALID when the query is asked.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_exclude_rows(causerie_query *query,
                                            const uint64_t *rows,
                                            size_t count);

// Adds an id that may come back, `len` bytes: from the first one on, nothing else may. When it is asked, one that is not in
// the catalogue is passed over; CAUSERIE_NOT_FOUND where that is all of them.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_allow(causerie_query *query,
                                     const char *id,
                                     size_t len);

// Adds `count` items that may come back, by their rows, as causerie_query_exclude_rows; (NULL, 0) alone allows nothing.
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_allow_rows(causerie_query *query,
                                          const uint64_t *rows,
                                          size_t count);

// Has every item come with the `reviews` of it that lie nearest to what was said, at most 100 (else recommend.explain says).
CAUSERIE_MUST_CHECK
causerie_error *causerie_query_explain(causerie_query *query,
                                       uint32_t reviews);

// Empties a query, for the next conversation.
CAUSERIE_MUST_CHECK causerie_error *causerie_query_clear(causerie_query *query);

// Ends a query; NULL is fine.
void causerie_query_free(causerie_query *query);

// ---- 6 recommend ------------------------------------------------------------------------------------------------
// Opens a work directory that causerie_pipeline (or `causerie run`) finished, with the recommender recommend.system of
// `strategy` (NULL or "": the first one of the run). Everything but run.threads and recommend.system, .top_k and .explain
// is as the directory was made. "lm" is the language model that the run tuned: it takes items and adapters while it serves.
// CAUSERIE_NOT_FOUND where the run did not get so far.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_open(const char *work_dir,
                                          const char *strategy,
                                          const causerie_config *config,
                                          const causerie_run *run,
                                          causerie_recommender **out);

// A recommender from what the stages made, by recommend.system: "head" needs embeddings and model, "nbcrs" embeddings and
// dialogues, "fusion" all three, "popularity" and "retrieval" none. What is not needed may be NULL. Nothing is kept of the handles given.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_new(const causerie_dataset *dataset,
                                         const causerie_embeddings *embeddings,
                                         const causerie_model *model,
                                         const causerie_dialogues *dialogues,
                                         const causerie_config *config,
                                         const causerie_run *run,
                                         causerie_recommender **out);

// A language model that names items of the catalogue alone: the GGUF at `model`, with a LoRA adapter (`adapter`, NULL: none)
// at scale recommend.adapter_scale. recommend.mode says how it ranks ("constrained", "generate", "head"), and
// recommend.context_tokens, .contexts, .cache_bytes, .timeout_ms what it may take. CAUSERIE_UNSUPPORTED on a CPU without
// AVX2, FMA, F16C and BMI2.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_open_lm(const causerie_dataset *dataset,
                                             const char *model,
                                             const char *adapter,
                                             const causerie_config *config,
                                             const causerie_run *run,
                                             causerie_recommender **out);

// The number of the adapters that serve: 1 at first, one more with each exchange. CAUSERIE_UNSUPPORTED for what is no
// language model.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_generation(const causerie_recommender *recommender,
                                                uint64_t *generation);

// Puts another LoRA adapter (NULL: none, the base model alone) in the place of generation `expected`, while requests are
// answered: those in flight finish with what they started with, none fails. Writes the new number to `generation` (may be
// NULL). CAUSERIE_INVALID when somebody else exchanged them meanwhile.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_swap_adapter(const causerie_recommender *recommender,
                                                  uint64_t expected,
                                                  const char *adapter,
                                                  float scale,
                                                  uint64_t *generation);

// Puts the adapters before generation `expected` back, under a new number.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_roll_back(const causerie_recommender *recommender,
                                               uint64_t expected,
                                               uint64_t *generation);

// How many items it ranks; 0 for NULL.
size_t causerie_recommender_count(const causerie_recommender *recommender);

// The id of item row `i`; NULL past the end. Borrowed from the recommender.
const char *causerie_recommender_id(const causerie_recommender *recommender, size_t i);

// Writes the row of the item of this id (`len` bytes) to `row`: what causerie_recommender_id takes, and what queries and
// replies know it by. CAUSERIE_NOT_FOUND for an id that is not in the catalogue.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_find(const causerie_recommender *recommender,
                                          const char *id,
                                          size_t len,
                                          uint64_t *row);

// Its name in reports: "head", "nbcrs", … Borrowed from the recommender.
const char *causerie_recommender_name(const causerie_recommender *recommender);

// About how many bytes of memory it holds: dataset, review rows and head, or the language model's weights (the whole mapped
// file) and its computed prompts; not the keys and values of recommend.contexts contexts. What other handles hold as well
// is counted in each. 0 for NULL.
uint64_t causerie_recommender_bytes(const causerie_recommender *recommender);

// Answers a query with the `top_k` best items of the catalogue (0: recommend.top_k). What its turns name, what it has seen,
// what it excludes and, where it allows some, all others never come back. The reply makes its texts when they are first read.
// CAUSERIE_INVALID for a row past the end; CAUSERIE_NOT_FOUND when no allowed id is in the catalogue;
// CAUSERIE_UNSUPPORTED for reasons where recommend.explain was 0 when the recommender was opened.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommend_query(const causerie_recommender *recommender,
                                         const causerie_query *query,
                                         uint32_t top_k,
                                         const causerie_run *run,
                                         causerie_reply **out);

// One sentence about the best items of `reply`, in the language model's own words: it names items of the reply and nothing
// else of the catalogue, and stops short ("…") where it would. `query` is what the reply answered. Heard while it is written
// by causerie_run_on_token; "" where not a word came. Borrowed from the reply. CAUSERIE_UNSUPPORTED for what is no language
// model, and in mode "head", which computes no words.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_say(const causerie_recommender *recommender,
                                         const causerie_query *query,
                                         const causerie_reply *reply,
                                         const causerie_run *run,
                                         const char **out);

// The same for `count` queries in one call, which costs less than as many calls. Writes `count` replies to `replies`, all of
// them yours, or, where anything fails, none. A score may differ in its last digits from that of the query alone: sums are
// taken in another order.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommend_many(const causerie_recommender *recommender,
                                        const causerie_query *const *queries,
                                        size_t count,
                                        uint32_t top_k,
                                        const causerie_run *run,
                                        causerie_reply **replies);

// Scores of the whole catalogue in the order of causerie_recommender_id, higher is better, written to `scores`, [count]:
// count must be causerie_recommender_count. Items that the query masks get -infinity. Errors as of
// causerie_recommend_query.
CAUSERIE_MUST_CHECK
causerie_error *causerie_score_query(const causerie_recommender *recommender,
                                     const causerie_query *query,
                                     const causerie_run *run,
                                     float *scores,
                                     size_t count);

// The same for several queries in one call: `scores` is [queries, items], row-major, `count` = queries x items values.
CAUSERIE_MUST_CHECK
causerie_error *causerie_score_many(const causerie_recommender *recommender,
                                    const causerie_query *const *queries,
                                    size_t rows,
                                    const causerie_run *run,
                                    float *scores,
                                    size_t count);

// causerie_recommend_query for a request in JSON, `len` bytes: the turns, oldest first, [{"role": "user" | "assistant",
// "text": "…"}, …]; or an object {"turns": […], "seen": [{"id": id} | {"title", "year"} | "id or title", …], "exclude":
// [id, …], "allow": [id, …], "top_k": n (where the argument is 0; of two the smaller one holds), "explain": n}. null is as if
// it were not there; an empty "allow" allows nothing. The same grammar as of `causerie serve`. CAUSERIE_INVALID for what is
// not JSON, unknown or misspelt keys, and values of another kind: the message names the field and says what to write.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommend(const causerie_recommender *recommender,
                                   const char *request,
                                   size_t len,
                                   uint32_t top_k,
                                   const causerie_run *run,
                                   causerie_reply **out);

// causerie_score_query for a request in JSON, as of causerie_recommend.
CAUSERIE_MUST_CHECK
causerie_error *causerie_score(const causerie_recommender *recommender,
                               const char *request,
                               size_t len,
                               const causerie_run *run,
                               float *scores,
                               size_t count);

// Adds items (JSON lines as of causerie_dataset_add) to a ranking head or a language model ("constrained") that serves,
// without tuning anew: they are recommended from now on by what they say of themselves. All or nothing. Other threads may
// use the recommender meanwhile: a call under way goes on without them. An id that stands twice among them is taken once; the
// others are counted in `dropped` (may be NULL). CAUSERIE_UNSUPPORTED for other recommenders; CAUSERIE_INVALID for an id that
// is there already; CAUSERIE_FORMAT for a bad line.
CAUSERIE_MUST_CHECK
causerie_error *causerie_recommender_add(const causerie_recommender *recommender,
                                         const char *lines,
                                         size_t len,
                                         const causerie_run *run,
                                         size_t *dropped);

// Ends a recommender; NULL is fine. Replies live on.
void causerie_recommender_free(causerie_recommender *recommender);

// How many items an answer has; 0 for NULL.
size_t causerie_reply_count(const causerie_reply *reply);

// The rows of an answer's items in the catalogue (the order of causerie_recommender_id), best first, [count] (`count` may be
// NULL); NULL where there are none. Borrowed from the reply.
const uint64_t *causerie_reply_rows(const causerie_reply *reply,
                                    size_t *count);

// Their scores, as causerie_reply_rows: falling, of the recommender's own scale. Borrowed from the reply.
const double *causerie_reply_scores(const causerie_reply *reply, size_t *count);

// The id of item `i` of an answer, best first, and its score (`score` may be NULL); NULL past the end. Borrowed.
const char *causerie_reply_item(const causerie_reply *reply, size_t i, double *score);

// "Title (1999)" of item `i` of an answer; NULL past the end. Borrowed.
const char *causerie_reply_title(const causerie_reply *reply, size_t i);

// The year of item `i` of an answer; 0 where it is not known, and past the end.
uint32_t causerie_reply_year(const causerie_reply *reply, size_t i);

// Review `n` of those that speak for item `i` of an answer, nearest to what was said first: an excerpt of 240 characters at
// most, and its cosine to the query (`similarity` may be NULL). NULL past the end, or where no reasons were asked for.
// Borrowed.
const char *causerie_reply_evidence(const causerie_reply *reply,
                                    size_t i,
                                    size_t n,
                                    double *similarity);

// The row of that review in the dataset; UINT64_MAX where causerie_reply_evidence is NULL.
uint64_t causerie_reply_evidence_row(const causerie_reply *reply, size_t i, size_t n);

// 1 where the time was up before the search was (recommend.timeout_ms): these are the items found by then; else 0.
int32_t causerie_reply_partial(const causerie_reply *reply);

// 1 where the conversation was longer than what the recommender reads, which is its latest part; else 0.
int32_t causerie_reply_truncated(const causerie_reply *reply);

// What is to be said of an answer, one sentence each: names that are not in the catalogue, what was cut, what is missing.
// NULL past the end. Borrowed from the reply.
const char *causerie_reply_warning(const causerie_reply *reply,
                                   size_t i);

// The answer as text to show: "1. Title (1999)" a line. Borrowed from the reply.
const char *causerie_reply_text(const causerie_reply *reply);

// The answer as JSON: [{"item", "title", "year", "score"}, …], best first; with reasons each has "evidence": [{"review" (the
// row in the dataset), "similarity", "text"}, …]. Borrowed from the reply.
const char *causerie_reply_json(const causerie_reply *reply);

// Ends an answer; NULL is fine.
void causerie_reply_free(causerie_reply *reply);

// ---- 7 evaluate -------------------------------------------------------------------------------------------------
// Scores `count` recommenders of one catalogue on the same held-out conversations (paper §4.2.1): Recall, NDCG, MRR with
// standard errors, four variants, paired tests. `conversations` is `len` bytes of JSON lines, {"turns": [{"role", "text"}],
// "targets": [{"title", "year", "item"}], "seen": […]}; with none, the files of evaluate.conversations are read.
CAUSERIE_MUST_CHECK
causerie_error *causerie_evaluate(const causerie_recommender *const *recommenders,
                                  size_t count,
                                  const char *conversations,
                                  size_t len,
                                  const causerie_config *config,
                                  const causerie_run *run,
                                  causerie_report **out);

// All stages in rounds (paper §3.1, Algorithm 1) by the settings; each leaves its artifact in `work_dir`, and a second call
// goes on after the last finished one. `restart` other than 0: what was made with other settings is made again instead of
// being refused (the teacher's journal is kept). Ends with report.json and report.html in `work_dir`; open the result with
// causerie_recommender_open. `out` may be NULL.
CAUSERIE_MUST_CHECK
causerie_error *causerie_pipeline(const causerie_config *config,
                                  const char *work_dir,
                                  int32_t restart,
                                  const causerie_run *run,
                                  causerie_report **out);

// The report as JSON: {"title", "stages", "curves", "evaluations": [{"name", "n", "systems": […], …}], …}. Borrowed.
const char *causerie_report_json(const causerie_report *report);

// The report as one self-contained HTML page: it loads nothing. Borrowed.
CAUSERIE_MUST_CHECK causerie_error *causerie_report_html(const causerie_report *report, const char **out);

// Writes report.json and report.html into `folder`.
CAUSERIE_MUST_CHECK causerie_error *causerie_report_save(const causerie_report *report, const char *folder);

// One number of recommender `system` (from 0) on the first set of conversations, items already mentioned removed: `metric` is
// "recall@K", "ndcg@K" or "mrr@K", K one of 1, 5, 10, 20. `mean` and its standard error `se`, 0 to 1, may be NULL.
CAUSERIE_MUST_CHECK
causerie_error *causerie_report_metric(const causerie_report *report,
                                       size_t system,
                                       const char *metric,
                                       double *mean,
                                       double *se);

// Ends a report; NULL is fine.
void causerie_report_free(causerie_report *report);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CAUSERIE_H */
