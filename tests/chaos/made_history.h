/* Histories that are made up record by record, for the tests of the checker. */
#ifndef CHAOS_MADE_HISTORY_H
#define CHAOS_MADE_HISTORY_H

#include "fwt.h"

#include "history.h"

#define HIST_CLIENTS 3
#define HIST_RECORDS 64
#define HIST_SECOND  UINT64_C(1000000000)

/* For what the functions below do not do. */
extern chaos_record hist_records[HIST_CLIENTS][HIST_RECORDS];
extern chaos_client_history hist_clients[HIST_CLIENTS];
extern chaos_histories hist_all;
extern uint64_t hist_now; /* in nanoseconds; each record is a millisecond later */

/* A fixture: an empty history. */
void hist_setup(void);
/* An operation is asked, and answered; its id. */
uint64_t hist_invoke(size_t client, chaos_kind kind, const char *key, int64_t previous);
void hist_answer(size_t client, uint64_t op, int status, int64_t revision);
/* Both, with FW_OK. */
uint64_t hist_done(size_t client, chaos_kind kind, const char *key, int64_t previous,
                   int64_t revision);
/* A client's watch is told. */
void hist_event(size_t client, fw_kv_event_type type, uint32_t batch, const char *key,
                int64_t revision, uint64_t op);
/* What becomes of a client's lock, or lease. */
void hist_hold(size_t client, chaos_what what, int64_t token);
/* A pair that is there in the end. */
void hist_left(const char *key, uint64_t op, int64_t revision);
/* The watcher has seen the director's last word. */
void hist_end(size_t client, int64_t revision);
/* What the checker says, to be freed. */
char *hist_check(size_t *ret_breaches);
void hist_passes(void);
/* One rule is broken, and no other. */
void hist_breaks(const char *rule);

/* The tests, by subject: test_checker_watch.c, test_checker_hold.c. */
void add_watch_tests(TCase *tcase);
void add_hold_tests(TCase *tcase);

#endif
