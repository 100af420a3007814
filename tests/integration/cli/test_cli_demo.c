/* fairway demo: the story, and that nothing of it is left. */
#include "clit.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STORY_MS 50000 /* for the whole of it */
#define SERVICES 3

static char root[300];   /* for all of the tests */
static char folder[600]; /* where the demo of one makes its own */

/* A folder for temporary files, with a long name; the processes of the demo are known by it. */
static void use_folder(void)
{
    snprintf(folder, sizeof folder, "%s/%d-is-a-folder-for-temporary-files-with-quite-a-long-name",
             root, (int)getpid());
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    setenv("TMPDIR", folder, 1);
}

static int entries(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

/* Sends a signal (0: none) to the processes that have the path in their environment, and counts
 * them. */
static int signal_processes(const char *path, int sig)
{
    static char environment[65536];
    int count = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        pid_t pid = atoi(entry->d_name);
        FILE *file = pid > 0 ? fopen(clit_format("/proc/%s/environ", entry->d_name), "r") : NULL;
        if (!file)
            continue;
        size_t len = fread(environment, 1, sizeof environment, file);
        fclose(file);
        if (!memmem(environment, len, path, strlen(path)))
            continue;
        count++;
        if (sig)
            kill(pid, sig);
    }
    if (dir)
        closedir(dir);
    return count;
}

static int processes(void)
{
    return signal_processes(folder, 0);
}

static void make_root(void)
{
    snprintf(root, sizeof root, "%s", fwt_tmpdir());
}

/* A test that failed ended its demo with SIGKILL; the demo's processes outlive that. */
static void end_processes(void)
{
    signal_processes(root, SIGKILL);
}

static void expect_nothing_left(void)
{
    ck_assert_int_eq(processes(), 0);
    ck_assert_int_eq(entries(), 0);
}

/* The sentences that the story must have, and one that follows another. */
static const char *const sentences[] = {
    "the gateway is up: clients at tcp://127.0.0.1:",
    "echo-1 registered at tcp://127.0.0.1:",
    "echo-2 registered at tcp://127.0.0.1:",
    "echo-3 registered at tcp://127.0.0.1:",
    "SIGKILL to echo-2 (pid ",
    "the proxy noticed after ",
    "the gateway closed its virtual connection after ",
    "the registry dropped it after ",
    "echo-4 registered at tcp://127.0.0.1:",
    "echo-4 answers in its place",
    " calls failed",
};

static const char *place(const char *text, const char *sentence)
{
    const char *at = strstr(text, sentence);
    ck_assert_msg(at != NULL, "no \"%s\" in:\n%s", sentence, text);
    ck_assert_msg(strstr(at + 1, sentence) == NULL, "\"%s\" twice in:\n%s", sentence, text);
    return at;
}

static void expect_story(const char *text)
{
    const char *killed = place(text, "SIGKILL to echo-2 (pid ");
    const char *replaced = place(text, "echo-4 answers in its place");
    const char *sum = place(text, " calls failed");
    for (size_t i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        const char *at = place(text, sentences[i]);
        ck_assert_msg(i < 4    ? at < killed
                      : i >= 5 ? at > killed
                               : true,
                      "%s: %s", sentences[i], text);
        ck_assert(i >= 9 || at < replaced);
    }
    ck_assert(killed < replaced && replaced < sum);
    ck_assert_ptr_null(strstr(text, "NOT all of them"));
}

START_TEST(the_story_is_told)
{
    use_folder();
    char *out, *err;
    int code =
        fwt_run((const char *const[]){FWT_PROGRAM, "demo", NULL}, NULL, &out, &err, STORY_MS);
    ck_assert_msg(code == 0, "exit code %d\n%s%s", code, out, err);
    ck_assert_str_eq(err, "");
    expect_story(out);
    ck_assert_ptr_nonnull(strstr(out, folder)); /* there it was */
    ck_assert_ptr_null(strchr(out, '\x1b'));    /* colours are for terminals */
    expect_nothing_left();
    free(out);
    free(err);
}
END_TEST

START_TEST(machines_can_read_it)
{
    use_folder();
    char *out, *err;
    int code = fwt_run((const char *const[]){FWT_PROGRAM, "--json", "demo", NULL}, NULL, &out, &err,
                       STORY_MS);
    ck_assert_msg(code == 0, "exit code %d\n%s%s", code, out, err);
    ck_assert_str_eq(err, "");
    static const struct {
        const char *event;
        int count;
    } wanted[] = {{"begin", 1},
                  {"gateway", 1},
                  {"registered", SERVICES + 1},
                  {"killed", 1},
                  {"proxy_noticed", 1},
                  {"gateway_noticed", 1},
                  {"registry_noticed", 1},
                  {"replaced", 1},
                  {"sum", 1}};
    size_t lines = clit_lines(out);
    ck_assert_uint_gt(lines, 10);
    int counts[sizeof wanted / sizeof *wanted] = {0};
    for (const char *line = out; *line; line = strchr(line, '\n') + 1) {
        const char *event = clit_field(line, "event");
        ck_assert_str_ne(clit_field(line, "text"), "(none)");
        ck_assert_str_ne(clit_field(line, "at_s"), "(none)");
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            counts[i] += !strcmp(event, wanted[i].event);
    }
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        ck_assert_msg(counts[i] == wanted[i].count, "%d of %s in:\n%s", counts[i], wanted[i].event,
                      out);
    expect_nothing_left();
    free(out);
    free(err);
}
END_TEST

START_TEST(it_stays_if_asked_to)
{
    use_folder();
    fwt_proc *demo = clit_start("demo", "--keep", NULL);
    fwt_proc_expect(demo, "it goes on until Ctrl-C", STORY_MS);
    const char *line = fwt_proc_expect(demo, "--store lmdb:", CLIT_PATIENCE_MS);
    char store[800];
    ck_assert_int_eq(sscanf(strstr(line, "lmdb:"), "%799s", store), 1);
    ck_assert_ptr_nonnull(strstr(store, folder));
    ck_assert_int_eq(processes(), 1 + 1 + SERVICES); /* itself, the gateway */
    ck_assert_int_eq(entries(), 1);
    const char *out = clit_out("--store", store, "resolve", "echo", "--json");
    ck_assert_uint_eq(clit_lines(out), SERVICES);
    ck_assert_ptr_null(strstr(out, "\"echo-2\""));
    out = clit_out("--store", store, "--json", "call", "echo", "echo", "1", "--count", "6");
    ck_assert_uint_eq(clit_lines(out), 6);
    ck_assert_ptr_nonnull(strstr(out, "\"instance\":\"echo-4\""));
    clit_end(demo, SIGINT, 0);
    expect_nothing_left();
}
END_TEST

START_TEST(stopped_in_the_midst_it_leaves_nothing)
{
    /* Early, with everything up, and as a terminal does it, to all of them. */
    static const char *const moments[] = {"a cluster on this machine", "an outside client dials",
                                          "SIGKILL to echo-2", "echo-3 registered"};
    use_folder();
    const char *argv[] = {"setsid", FWT_PROGRAM, "demo", NULL};
    fwt_proc *demo = fwt_proc_start(argv);
    fwt_proc_expect(demo, moments[_i], STORY_MS);
    int sig = _i % 2 ? SIGINT : SIGTERM;
    if (_i == 3)
        ck_assert_int_eq(kill(-fwt_proc_pid(demo), sig), 0);
    clit_end(demo, _i == 3 ? 0 : sig, 128 + sig);
    expect_nothing_left();
}
END_TEST

START_TEST(without_a_folder_it_says_so)
{
    fwt_tmpdir(); /* the test's own is elsewhere */
    setenv("TMPDIR", "/no/such/folder", 1);
    clit_refused(clit_run("demo", NULL), 1, "/no/such/folder");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("demo");
    TCase *tcase = clit_tcase(suite, "demo", 120);
    tcase_add_unchecked_fixture(tcase, make_root, end_processes);
    tcase_add_test(tcase, the_story_is_told);
    tcase_add_test(tcase, machines_can_read_it);
    tcase_add_test(tcase, it_stays_if_asked_to);
    tcase_add_loop_test(tcase, stopped_in_the_midst_it_leaves_nothing, 0, 4);
    tcase_add_test(tcase, without_a_folder_it_says_so);
    return fwt_main(suite);
}
