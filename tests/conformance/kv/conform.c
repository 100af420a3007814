/*
 * fairway kv-conform: runs the conformance suite on a user's own store, in a directory of its own
 * there, which it deletes afterwards, also when it is interrupted.
 *
 * Three processes, because a store must not be used across fork, and check forks for every test:
 * the first child asks the store whether it is there and what it can do; the second runs check,
 * which tells of each test through a pipe; the parent prints, passes signals on, and cleans up.
 */
#include "conform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static conform_place place;
static SRunner *runner; /* has the suite */

/* ---- the driver under test is whatever the URL says ---- */

static void fresh_url(char *url, size_t size)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test ends with the program that runs it */
    conform_fresh_url(&place, url, size);
}

/* Tests leave much behind; a store need not hold all of it at once. */
static void clean_after_test(void)
{
    if (conform_place_is_files(&place))
        return;
    fw_kv *kv = kvt_open();
    kvt_assert_status(kvt_delete_tree(kv, ""), FW_OK);
    kvt_close(kv);
}

static const kvt_driver conform_driver = {"conform", fresh_url, NULL, NULL};

/* ---- the first child: is the store there? ---- */

struct probe {
    cli_context *cli;
    const char *store;
    unsigned capabilities;
};

static void on_probed(const fw_kv_result *result, void *arg)
{
    struct probe *probe = arg;
    int code = result->status ? cli_fail_error(probe->store, result->status, result->detail) : 0;
    cli_stop(probe->cli, code);
}

static int probe_store(cli_context *cli, int out)
{
    struct probe probe = {.cli = cli, .store = place.base};
    /* lmdb makes its files where it is opened. */
    cli->store = conform_place_is_files(&place) ? place.url : place.base;
    int rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    probe.capabilities = fw_kv_capabilities(cli->kv);
    int err = fw_kv_exists(cli->kv, place.name, on_probed, &probe);
    if (err)
        cli_stop(cli, cli_fail_error(probe.store, err, NULL));
    rc = cli_run(cli);
    ssize_t size = sizeof probe.capabilities;
    if (!rc && write(out, &probe.capabilities, sizeof probe.capabilities) != size)
        rc = EXIT_FAILED;
    return rc;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int probe(cli_context *cli, unsigned *ret_capabilities)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC))
        return cli_fail_error("pipe", -errno, NULL);
    fflush(stdout);
    pid_t pid = fork();
    if (!pid)
        exit(probe_store(cli, fds[1]));
    close(fds[1]);
    int code = pid < 0 ? cli_fail_error("fork", -errno, NULL) : wait_for(pid);
    ssize_t got = code ? 0 : read(fds[0], ret_capabilities, sizeof *ret_capabilities);
    close(fds[0]);
    if (code)
        return code;
    return got == sizeof *ret_capabilities ? -1 : cli_fail(EXIT_FAILED, place.base, "says nothing");
}

/* ---- the second child: check ---- */

static int run_check(int out)
{
    char tap[32];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(null, 1); /* what tests print is for their developers; standard error is kept */
    snprintf(tap, sizeof tap, "/dev/fd/%d", out);
    kvt_clean = clean_after_test;
    srunner_set_fork_status(runner, CK_FORK);
    srunner_set_tap(runner, tap);
    srunner_run_all(runner, CK_SILENT);
    srunner_free(runner);
    return 0;
}

/* ---- the parent ---- */

static volatile sig_atomic_t signal_seen;

static void on_signal(int number)
{
    signal_seen = number;
}

static void set_signals(void (*handler)(int))
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = handler};
    for (size_t i = 0; i < KVT_COUNT(numbers); i++)
        sigaction(numbers[i], &action, NULL);
}

/* Takes whole lines out of what has come. */
static void take_lines(conform_report *report, char *text, size_t *len)
{
    char *start = text;
    for (char *end; (end = memchr(start, '\n', *len - (size_t)(start - text))); start = end + 1) {
        *end = 0;
        conform_report_line(report, start);
    }
    *len -= (size_t)(start - text);
    memmove(text, start, *len);
}

/* Reads until check and its tests have ended. A signal ends them: check is killed, and the kernel
 * kills the test with it; the pipe ends when the last of them is gone. */
static void follow(conform_report *report, int in, pid_t pid)
{
    static char text[65536];
    size_t len = 0;
    for (;;) {
        if (signal_seen)
            kill(pid, SIGKILL);
        struct pollfd fd = {.fd = in, .events = POLLIN};
        int ready = poll(&fd, 1, 100);
        if (ready < 0 && errno != EINTR)
            break;
        if (ready <= 0)
            continue;
        ssize_t got = read(in, text + len, sizeof text - 1 - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        take_lines(report, text, &len);
        if (len == sizeof text - 1)
            len = 0; /* no line is so long */
    }
}

static int run(conform_report *report)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC))
        return cli_fail_error("pipe", -errno, NULL);
    set_signals(on_signal);
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        return cli_fail_error("fork", -errno, NULL);
    if (!pid) {
        setpgid(0, 0); /* the terminal's signals come to the parent alone */
        set_signals(SIG_DFL);
        close(fds[0]);
        exit(run_check(fds[1]));
    }
    close(fds[1]);
    conform_report_start(report, place.base);
    follow(report, fds[0], pid);
    close(fds[0]);
    int code = wait_for(pid);
    if (code && !signal_seen)
        fprintf(stderr, "fairway: kv-conform: the suite ended with %d\n", code);
    return conform_report_end(report, signal_seen);
}

static int conform(cli_context *cli)
{
    static conform_report report;
    report.json = cli->json;
    uint32_t timeout_ms = cli->timeout_ms;
    int rc = conform_place_init(&place, cli_store_url(cli));
    if (rc >= 0)
        return rc;
    int code = probe(cli, &report.capabilities);
    if (code < 0)
        code = run(&report);
    else if (!conform_place_is_files(&place))
        return code; /* nothing was made */
    rc = conform_place_delete(&place, timeout_ms);
    return rc < 0 || code ? code : rc;
}

int main(int argc, char **argv)
{
    cli_context cli = {
        .timeout_ms = 5000, .log_level = "warn", .log_format = "logfmt", .command = "kv-conform"};
    const char *only = NULL;
    bool list = false;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0); /* rows are read as they come */
    const cli_option options[] = {
        {"only", NULL, CLI_TEXT, &only, "TEXT",
         "the tests with this in their name or group, or of this rule (C9)"},
        {"list", NULL, CLI_FLAG, &list, NULL, "list the tests, and run none"},
        CLI_END,
    };
    int count,
        rc =
            cli_parse(&cli, options, "[--only TEXT] [--list]",
                      "Tries everything that the store's contract promises (kvstore/README.md) on "
                      "a store of your own.\n"
                      "It works in a new directory below the URL, and deletes that afterwards.\n"
                      "Exits with 0 if all tests passed, with 1 if not, with 3 if the store cannot "
                      "be reached.\n"
                      "--timeout is for the first contact and for cleaning up.",
                      argc - 1, argv + 1, 0, 0, &count);
    if (rc >= 0)
        return rc;
    runner = srunner_create(kvt_suite(&conform_driver, only));
    size_t chosen = 0;
    for (size_t i = 0; i < kvt_tests_count; i++)
        chosen += kvt_tests[i].chosen;
    if (!chosen)
        rc = cli_fail(EXIT_USAGE, only, "no test has this in its name");
    else if (list)
        conform_report_list(cli.json);
    else
        rc = conform(&cli);
    srunner_free(runner);
    return rc < 0 ? EXIT_DONE : rc;
}
