/*
 * fairway doctor: checks, one after the other. A check reports what it has found, a line for each
 * thing it looked at, and says that it is done; the next one begins then.
 */
#ifndef DOCTOR_H
#define DOCTOR_H

#include "cli.h"
#include "reach.h"

typedef enum doctor_level { DOCTOR_OK, DOCTOR_WARN, DOCTOR_FAIL } doctor_level;

/* What a check has found, one text each. */
#define DOCTOR_MAX_FINDINGS 200
typedef struct doctor_findings {
    char *texts[DOCTOR_MAX_FINDINGS];
    size_t count; /* may be more than have their text */
} doctor_findings;

/* Reading, writing and watching a key of our own. */
struct doctor_store {
    char key[64], value[40];
    fw_kv_watch *watch;
    uint64_t began_ns; /* the step that is under way */
    bool is_open, has_seen_put, has_seen_delete, has_written, has_deleted;
    double opened_ms, put_seen_ms, delete_seen_ms;
};

/* Connecting to every address. */
#define DOCTOR_PROBES 32
struct doctor_probe {
    struct cli_doctor *doctor;
    cli_reach *reach; /* under way, or NULL */
    const fw_instance *instance;
};

struct doctor_reach {
    struct doctor_probe probes[DOCTOR_PROBES];
    size_t next, asked, under_way;
    doctor_findings silent, elsewhere, loopback;
};

typedef struct cli_doctor {
    cli_context *cli;
    uint32_t ttl_ms;
    uv_timer_t timer; /* for the check that runs */
    size_t next;      /* check */
    bool ended;
    int64_t revision;
    struct doctor_store store;
    fw_kv_lease *lease;
    const fw_instance **instances; /* those that can be read */
    size_t instance_count;
    struct doctor_reach reach;
} cli_doctor;

/* Prints a line: what was looked at, the finding as of printf, and what to do about it (NULL:
 * nothing). found (may be NULL) is added, and emptied. */
void doctor_report(cli_doctor *doctor, const char *check, doctor_level level,
                   doctor_findings *found, const char *remedy, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* Reports an operation that failed; true if nothing else can be asked of the store, and that ends
 * the program. */
bool doctor_failed(cli_doctor *doctor, const char *check, int status, const char *detail,
                   const char *remedy);
/* Adds a finding, as of printf. */
void doctor_find(doctor_findings *found, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The running check is done. */
void doctor_done(cli_doctor *doctor);

/* ---- the checks ---- */
void doctor_check_store(cli_doctor *doctor);
void doctor_check_lease(cli_doctor *doctor);
void doctor_check_nodes(cli_doctor *doctor);
void doctor_check_clock(cli_doctor *doctor);
void doctor_check_drains(cli_doctor *doctor);
void doctor_check_addresses(cli_doctor *doctor);
/* Ends what doctor_check_addresses has under way. */
void doctor_cancel_addresses(cli_doctor *doctor);

#endif
