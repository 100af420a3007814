/*
 * A program of scenarios.
 *
 *     PROGRAM                every scenario, each in a process of its own, several at a time
 *     PROGRAM SCENARIO...    these
 *     PROGRAM run SCENARIO   one, here; CK_FORK=no is its nature, so a debugger can look
 *
 * CHAOS_SEED repeats the choices of a run (its timing is the machine's own), CHAOS_JOBS says how
 * many scenarios run at a time, CHAOS_DUMP names a directory for the records.
 */
#ifndef CHAOS_RUNNER_H
#define CHAOS_RUNNER_H

#include <stddef.h>
#include <stdint.h>

typedef struct chaos_program {
    const char *name;
    size_t jobs;       /* how many scenarios at a time; 0: 6 */
    unsigned limit_s;  /* so long a scenario may take; 0: 90 */
    const char *shown; /* of a scenario that passed, the lines that contain this are shown */
    /* Names by number; NULL behind the last. */
    const char *(*scenario_name)(size_t index);
    /* Runs one, in this process, with a loop: what `check` sees as a test. self: this program. */
    void (*run)(size_t index, uint64_t seed, const char *self);
    /* The program as another part of a scenario; -1: the arguments are not those of one. */
    int (*role)(int argc, char **argv);
} chaos_program;

/* main() of the program. */
int chaos_main(const chaos_program *program, int argc, char **argv);

#endif
