/*
 * Driving the real program: run it to its end, keep it running, and look at what it says.
 */
#ifndef CLIT_H
#define CLIT_H

#include "fwt.h"

#include <cjson/cJSON.h>

/* How long anything may take that should take no time: generous, for sanitizers and busy machines.
 */
#define CLIT_PATIENCE_MS 60000
/* More words than any command line of these tests. */
#define CLIT_MAX_WORDS 40

typedef struct clit_result {
    int code;
    char *out, *err;
    uint64_t took_ms;
} clit_result;

/* A case without the loop fixture, on an environment without FAIRWAY_ variables. */
TCase *clit_tcase(Suite *suite, const char *name, double timeout_s);
uint64_t clit_now_ms(void);
/* Where the test's own lmdb store is: "lmdb:/...", another one at each call. */
const char *clit_lmdb_url(void);
/* What tests are repeated on: tcase_add_loop_test(tcase, fn, 0, CLIT_STORES). Their case has
 * clit_share_etcd, their first line is clit_use_store(_i), and the environment tells the programs
 * of a store of their own. */
#ifdef CLIT_ETCD
#define CLIT_STORES 2
#else
#define CLIT_STORES 1
#endif
extern fwt_etcd clit_etcd; /* for the tests that do it no harm */
void clit_share_etcd(TCase *tcase);
void clit_use_store(int which);
/* printf into a ring of static buffers. */
const char *clit_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs `fairway WORD... NULL` to its end. The result is good until the next run. */
const clit_result *clit_run(const char *word, ...) __attribute__((sentinel));
/* The same with this on its standard input. */
const clit_result *clit_run_input(const char *input, const char *word, ...)
    __attribute__((sentinel));
/* A line of the shell; "$FAIRWAY" is the program. */
const clit_result *clit_shell(const char *line);
/* Runs it and wants exit code 0 and silence on stderr; gives stdout. */
#define clit_out(...) clit_done(clit_run(__VA_ARGS__, NULL), __FILE__, __LINE__)
const char *clit_done(const clit_result *result, const char *file, int line);
/* Wants an exit code, nothing on stdout, and one line on stderr, "fairway: ...: ...", that has
 * text in it. */
#define clit_refused(result, wanted, text)                                                         \
    clit_refused_at((result), (wanted), (text), __FILE__, __LINE__)
void clit_refused_at(const clit_result *result, int code, const char *text, const char *file,
                     int line);

/* Starts `fairway WORD... NULL`, to be ended by clit_end or fwt_proc_end. */
fwt_proc *clit_start(const char *word, ...) __attribute__((sentinel));
/* Sends the signal and wants the exit code. */
#define clit_end(proc, sig, wanted) clit_end_at((proc), (sig), (wanted), __FILE__, __LINE__)
void clit_end_at(fwt_proc *proc, int sig, int wanted, const char *file, int line);
/* Waits until it has printed text, without passing lines over. */
void clit_await(fwt_proc *proc, const char *text);

/* Parses the first line of text; fails the test if it is not JSON. To be deleted. */
cJSON *clit_json(const char *text);
/* A member of an object, "node.md.rack" for deeper ones, as text (numbers without decimals);
 * "(none)" if there is none. Good until a few calls later. */
const char *clit_member(const cJSON *json, const char *path);
/* The same of the first line of text. */
const char *clit_field(const char *text, const char *path);
/* The number of lines; fails the test if one of them is not a JSON object. */
#define clit_lines(text) clit_lines_at((text), __FILE__, __LINE__)
size_t clit_lines_at(const char *text, const char *file, int line);

#endif
