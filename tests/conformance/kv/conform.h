/* fairway kv-conform: what its files share. */
#ifndef CONFORM_H
#define CONFORM_H

#include "kvt.h"

#include "cli.h"

/* ---- conform_place.c: where the suite works ---- */

typedef struct conform_place {
    char base[1024]; /* the URL that was given */
    char name[64];   /* of the directory below it, which nobody else has */
    char url[1200];  /* of that directory */
    char made[1200]; /* lmdb: the uppermost directory that was not there before */
} conform_place;

/* Exit code or -1. */
int conform_place_init(conform_place *place, const char *url);
/* Writes the URL of a store in the place that no other test has. */
void conform_fresh_url(const conform_place *place, char *url, size_t size);
/* Deletes everything in the place, and the place. Errors are printed. Exit code or -1. */
int conform_place_delete(const conform_place *place, uint32_t timeout_ms);
/* True if it is files that are deleted, which needs no store. */
bool conform_place_is_files(const conform_place *place);

/* ---- conform_report.c: what is printed ---- */

typedef struct conform_report {
    bool json;
    unsigned capabilities;
    size_t passed, failed;
    uint64_t start_ms, last_ms; /* of the run, and of the last row */
    size_t test;                /* the one that runs: index into kvt_tests */
    int runs;                   /* of it that are done */
    uint64_t test_ms;
    char failure[600]; /* of it; "" if none */
    struct {
        size_t test;
        char text[600];
    } failures[KVT_TESTS_MAX];
} conform_report;

void conform_report_list(bool json);
void conform_report_start(conform_report *report, const char *store);
/* A line of check's TAP. */
void conform_report_line(conform_report *report, const char *line);
/* The summary. Exit code. */
int conform_report_end(conform_report *report, int interrupted);

#endif
