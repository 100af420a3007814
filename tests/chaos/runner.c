/* Runs scenarios, each in a process of its own, and tells how they ended. */
#include "runner.h"

#include "fwt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define LIMIT_S       90
#define SHOW_MS       5000
#define MAX_JOBS      16
#define MAX_SCENARIOS 32

static char self[PATH_MAX];
static uint64_t seed;
static const chaos_program *program;
static size_t scenario;

static unsigned limit_s(void)
{
    return program->limit_s ? program->limit_s : LIMIT_S;
}

/* ---- one scenario, here ---- */

START_TEST(the_rules_hold)
{
    program->run(scenario, seed, self);
}
END_TEST

static size_t find_scenario(const char *name)
{
    const char *each;
    for (size_t i = 0; (each = program->scenario_name(i)); i++)
        if (!strcmp(each, name))
            return i;
    fprintf(stderr, "%s has no scenario \"%s\"; it has", program->name, name);
    for (size_t i = 0; (each = program->scenario_name(i)); i++)
        fprintf(stderr, " %s", each);
    fprintf(stderr, "\n");
    exit(2);
}

static int run_here(const char *name)
{
    scenario = find_scenario(name);
    Suite *suite = suite_create(program->name);
    tcase_add_test(fwt_tcase(suite, name, limit_s()), the_rules_hold);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    fflush(NULL);
    /* Threads of a scenario that failed are still at work: nothing may be taken from under them. */
    if (failed)
        _exit(1);
    return 0;
}

/* ---- all scenarios, each in its process ---- */

struct job {
    const char *scenario;
    pid_t pid;
    uint64_t started_ms;
    bool shown;
    char path[300];
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void job_start(struct job *job, const char *what)
{
    *job = (struct job){.scenario = what, .started_ms = now_ms()};
    snprintf(job->path, sizeof job->path, "%s/output", fwt_tmpdir());
    char *temporary = strdup(fwt_tmpdir());
    job->pid = fork();
    if (!job->pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("TMPDIR", temporary, 1); /* what it leaves behind goes with us */
        int fd = open(job->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execl(self, self, "run", what, (char *)NULL);
        _exit(127);
    }
    free(temporary);
}

/* All that it printed, or what is shown always. (Outside of a test, so without fwt_read_file.) */
static void print_output(const struct job *job, bool all)
{
    char line[1024];
    FILE *file = fopen(job->path, "r");
    while (file && fgets(line, sizeof line, file))
        if (all || strstr(line, program->shown))
            fputs(line, stdout);
    if (file)
        fclose(file);
}

/* True if it has ended; *ret_failed tells how. */
static bool job_ended(struct job *job, bool *ret_failed)
{
    int status;
    uint64_t age_ms = now_ms() - job->started_ms;
    uint64_t limit_ms = (uint64_t)limit_s() * 1000;
    bool late = age_ms > limit_ms;
    if (late && !job->shown) {
        kill(job->pid, SIGSEGV); /* makes a sanitizer show where it stands */
        job->shown = true;
    }
    if (age_ms > limit_ms + SHOW_MS)
        kill(job->pid, SIGKILL);
    if (waitpid(job->pid, &status, WNOHANG) != job->pid)
        return false;
    *ret_failed = late || !WIFEXITED(status) || WEXITSTATUS(status);
    printf("%s %s %s, %.1f s: ", *ret_failed ? "FAILED" : "ok    ", program->name, job->scenario,
           (double)(now_ms() - job->started_ms) / 1000);
    if (*ret_failed) {
        printf("%s; CHAOS_SEED=%" PRIu64 "\n", late ? "it hung" : "see here", seed);
        print_output(job, true);
    } else {
        print_output(job, false);
    }
    fflush(stdout);
    return true;
}

static int run_all(const char *const *wanted, size_t count)
{
    struct job jobs[MAX_JOBS];
    size_t limit = program->jobs ? program->jobs : 6, running = 0, next = 0, failures = 0;
    const char *text = getenv("CHAOS_JOBS");
    if (text && atoi(text) > 0)
        limit = (size_t)atoi(text) < MAX_JOBS ? (size_t)atoi(text) : MAX_JOBS;
    while (next < count || running) {
        while (running < limit && next < count)
            job_start(&jobs[running++], wanted[next++]);
        for (size_t i = running; i-- > 0;) {
            bool failed;
            if (!job_ended(&jobs[i], &failed))
                continue;
            failures += failed;
            jobs[i] = jobs[--running];
        }
        poll(NULL, 0, 10);
    }
    printf("%s: %zu scenarios, %zu failed (CHAOS_SEED=%" PRIu64 ")\n", program->name, count,
           failures, seed);
    return failures ? 1 : 0;
}

int chaos_main(const chaos_program *what, int argc, char **argv)
{
    program = what;
    signal(SIGPIPE, SIG_IGN);
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (len < 0)
        return 2;
    int role = program->role(argc, argv);
    if (role >= 0)
        return role;
    const char *text = getenv("CHAOS_SEED");
    char number[24];
    seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
    snprintf(number, sizeof number, "%" PRIu64, seed);
    setenv("CHAOS_SEED", number, 1);
    if (argc == 3 && !strcmp(argv[1], "run"))
        return run_here(argv[2]);
    const char *wanted[MAX_SCENARIOS], *each;
    size_t count = 0;
    for (int i = 1; i < argc && count < MAX_SCENARIOS; i++)
        wanted[count++] = program->scenario_name(find_scenario(argv[i]));
    for (size_t i = 0; argc == 1 && (each = program->scenario_name(i)) && count < MAX_SCENARIOS;
         i++)
        wanted[count++] = each;
    return run_all(wanted, count);
}
