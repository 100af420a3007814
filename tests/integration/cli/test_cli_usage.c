/* Words, options and the environment: what the program understands, and how it says no. */
#include "clit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE 2
#define STORE "mem:"

/* Every command with what it needs, so that one word too many or an option is the only mistake. */
static const struct {
    const char *words[4];
    int least, most; /* operands; -1: any number */
    bool opens_store;
} commands[] = {
    {{"kv", "put"}, 2, 2, true},    {{"kv", "get"}, 1, 1, true}, {{"kv", "del"}, 1, 1, true},
    {{"kv", "exists"}, 1, 1, true}, {{"kv", "ls"}, 1, 1, true},  {{"kv", "rmtree"}, 1, 1, true},
    {{"kv", "cas"}, 3, 3, true},    {{"kv", "cad"}, 2, 2, true}, {{"kv", "watch"}, 1, 1, true},
    {{"register"}, 1, 1, true},     {{"resolve"}, 1, 1, true},   {{"watch"}, 1, 1, true},
    {{"services"}, 0, 0, true},     {{"doctor"}, 0, 0, true},    {{"drain"}, 1, 1, true},
    {{"why"}, 1, 1, true},          {{"call"}, 2, 3, true},      {{"serve"}, 1, 1, true},
    {{"gateway"}, 0, 0, false},     {{"demo"}, 0, 0, false},     {{"version"}, 0, 0, false},
    {{"ping"}, 1, 1, false},
};
#define COMMANDS (sizeof commands / sizeof *commands)

/* `fairway COMMAND [one] [x...]`, with a number of operands. */
static const clit_result *run_command(size_t command, const char *one, int operands)
{
    static const char *const x[] = {"x", "1", "x", "extra", "extra"};
    const char *words[12] = {NULL};
    size_t n = 0;
    for (size_t i = 0; commands[command].words[i]; i++)
        words[n++] = commands[command].words[i];
    if (one)
        words[n++] = one;
    for (int i = 0; i < operands; i++)
        words[n++] = x[i];
    return clit_run("--store", STORE, words[0], words[1], words[2], words[3], words[4], words[5],
                    words[6], words[7], NULL);
}

static const char *command_name(size_t command)
{
    const char *second = commands[command].words[1];
    return clit_format("%s%s%s", commands[command].words[0], second ? " " : "",
                       second ? second : "");
}

START_TEST(every_command_helps)
{
    const char *name = command_name((size_t)_i);
    const char *out = clit_done(run_command((size_t)_i, "--help", 0), name, __LINE__);
    const char *usage = clit_format("usage: fairway %s", name);
    ck_assert_msg(!strncmp(out, usage, strlen(usage)), "wanted \"%s\", got %s", usage, out);
    ck_assert_ptr_nonnull(strstr(out, "--store URL"));
    /* It stands in the list of all, too. */
    ck_assert_ptr_nonnull(strstr(clit_out("--help"), clit_format("\n  %s ", name)));
    ck_assert_int_eq(
        strncmp(clit_done(run_command((size_t)_i, "-h", 0), name, __LINE__), usage, strlen(usage)),
        0);
}
END_TEST

START_TEST(every_command_names_an_unknown_option)
{
    clit_refused(run_command((size_t)_i, "--no-such", commands[_i].least), USAGE, "--no-such");
    clit_refused(run_command((size_t)_i, "--no-such=1", commands[_i].least), USAGE, "--no-such");
}
END_TEST

START_TEST(every_command_counts_its_operands)
{
    if (commands[_i].least)
        clit_refused(run_command((size_t)_i, NULL, commands[_i].least - 1), USAGE,
                     command_name((size_t)_i));
    if (commands[_i].most >= 0)
        clit_refused(run_command((size_t)_i, NULL, commands[_i].most + 1), USAGE,
                     commands[_i].most < 1   ? "x: "
                     : commands[_i].most < 2 ? "1: "
                     : commands[_i].most < 3 ? "x: "
                                             : "extra: ");
}
END_TEST

START_TEST(commands_that_open_a_store_name_a_bad_url)
{
    if (!commands[_i].opens_store)
        return;
    for (int bad = 0; bad < 3; bad++) {
        static const char *const urls[] = {"bogus://there", "bogus", ""};
        static const char *const operands[] = {"echo", "0", "x"};
        const char *words[10] = {NULL};
        size_t n = 0;
        words[n++] = urls[bad];
        for (size_t i = 0; commands[_i].words[i]; i++)
            words[n++] = commands[_i].words[i];
        if (!strcmp(words[1], "register"))
            words[n++] = "--addr=tcp://127.0.0.1:1";
        for (int i = 0; i < commands[_i].least; i++)
            words[n++] = operands[i];
        if (!strcmp(words[1], "drain"))
            words[n - 1] = "echo/a";
        clit_refused(clit_run("--store", words[0], words[1], words[2], words[3], words[4], words[5],
                              words[6], NULL),
                     USAGE, clit_format("fairway: %s: ", urls[bad]));
    }
}
END_TEST

START_TEST(an_unknown_command_is_named)
{
    clit_refused(clit_run("bogus", NULL), USAGE, "fairway: bogus: unknown command");
    clit_refused(clit_run("--json", "bogus", "x", NULL), USAGE, "bogus: unknown command");
    clit_refused(clit_run("kv", "bogus", NULL), USAGE, "kv bogus: unknown command");
    clit_refused(clit_run("kv", NULL), USAGE, "kv");
    clit_refused(clit_run("", NULL), USAGE, "unknown command");
}
END_TEST

START_TEST(without_a_command_there_is_help_or_a_refusal)
{
    const clit_result *result = clit_shell("\"$FAIRWAY\"");
    ck_assert_int_eq(result->code, USAGE);
    ck_assert_str_eq(result->err, "");
    ck_assert_int_eq(strncmp(result->out, "usage: fairway ", 15), 0);
    ck_assert_int_eq(strncmp(clit_out("--help"), "usage: fairway ", 15), 0);
    ck_assert_int_eq(strncmp(clit_out("--json", "-h"), "usage: fairway ", 15), 0);
    clit_refused(clit_run("--json", NULL), USAGE, "--json");
    clit_refused(clit_run("--store", STORE, NULL), USAGE, "--store");
    clit_refused(clit_run("--log-level", NULL), USAGE, "--log-level");
}
END_TEST

static const struct {
    const char *words[8], *named;
} mistakes[] = {
    {{"kv", "put", "a", "b", "--ttl", "x"}, "--ttl x"},
    {{"kv", "put", "a", "b", "--ttl=5"}, "--ttl 5"},
    {{"kv", "put", "a", "b", "--ttl", "-5s"}, "--ttl -5s"},
    {{"kv", "put", "a", "b", "--ttl", "5s5"}, "--ttl 5s5"},
    {{"kv", "put", "a", "b", "--ttl", ""}, "--ttl "},
    {{"kv", "put", "a", "b", "--ttl", "2000h"}, "--ttl 2000h"},
    {{"kv", "put", "a", "b", "--ttl"}, "--ttl: needs a value"},
    {{"kv", "get", "a", "--timeout", "5"}, "--timeout 5"},
    {{"kv", "get", "a", "--timeout", "0"}, "--timeout 0"},
    {{"--timeout", "5", "kv", "get", "a"}, "--timeout 5"},
    {{"kv", "get", "a", "--log-level", "loud"}, "loud"},
    {{"--log-level", "loud", "kv", "get", "a"}, "loud"},
    {{"kv", "get", "a", "--log-format", "xml"}, "xml"},
    {{"kv", "get", "a", "--json=maybe"}, "--json maybe"},
    {{"--no-such", "kv", "get", "a"}, "--no-such"},
    {{"--no-such", "version"}, "--no-such"},
    {{"kv", "get", ""}, "key"},
    {{"kv", "put", "a\nb", "v", "--ttl", "x\ny"}, "--ttl x"}, /* still one line */
    {{"kv", "cas", "a", "x", "v"}, "x: not a revision"},
    {{"kv", "cas", "a", "", "v"}, "not a revision"},
    {{"kv", "cas", "a", "1x", "v"}, "1x: not a revision"},
    {{"kv", "cas", "a", "99999999999999999999", "v"}, "99999999999999999999: not a revision"},
    {{"kv", "cad", "a", "x"}, "x: not a revision"},
    {{"kv", "cad", "--", "a", "-1"}, "-1: not a revision"},
    {{"register", "a"}, "--addr"},
    {{"register", "a", "--addr", "bogus"}, "bogus"},
    {{"register", "a", "--addr", "bogus://there"}, "bogus://there"},
    {{"register", "a", "--addr", "tcp://"}, "tcp://"},
    {{"register", "a", "--addr", "tcp://127.0.0.1"}, "tcp://127.0.0.1"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--weight", "-1"}, "--weight -1"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--weight", "4294967296"},
     "--weight 4294967296"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--weight", "1.5"}, "--weight 1.5"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--ttl", "10ms"}, "--ttl"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--meta", "nope"}, "nope"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--meta", "=v"}, "=v"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--id", "a/b"}, "a/b"},
    {{"register", "a/b", "--addr=tcp://127.0.0.1:1"}, "a/b"},
    {{"register", "--addr=tcp://127.0.0.1:1", "--", "true"}, "register"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--"}, "--: a command is missing"},
    {{"register", "a", "--addr=tcp://127.0.0.1:1", "--drain-timeout", "2"}, "--drain-timeout 2"},
    {{"resolve", "bad name"}, "bad name"},
    {{"resolve", "a", "--meta", "=v"}, "=v"},
    {{"services", "--meta", "=v"}, "=v"},
    {{"watch", "a", "--meta", "=v"}, "=v"},
    {{"watch", "a", "--consumer", "a b"}, "--consumer a b"},
    {{"call", "a", "echo", "--consumer", "a/b"}, "--consumer a/b"},
    {{"doctor", "--ttl", "10ms"}, "--ttl"},
    {{"drain", "web"}, "web"},
    {{"drain", "web/a", "--timeout", "0"}, "--timeout 0"},
    {{"drain", "web/a", "--wait", "--resume"}, "--resume"},
    {{"why", "bad name"}, "bad name"},
    {{"why", "web", "--for", "x"}, "--for x"},
    {{"watch", "bad name"}, "bad name"},
    {{"call", "bad name", "echo"}, "bad name"},
    {{"call", "echo", "echo", "{bad"}, "{bad"},
    {{"call", "echo", "echo", "{\n\n"}, "{"}, /* still one line */
    {{"call", "echo", "echo", "--count", "0"}, "--count 0"},
    {{"call", "echo", "echo", "--balancer", "coin"}, "coin"},
    {{"serve", "nothing"}, "nothing"},
    {{"serve", "echo", "--ttl", "1ms"}, "--ttl"},
    {{"serve", "echo", "--id", "a/b"}, "a/b"},
    {{"serve", "echo", "--listen", "bogus"}, "bogus"},
    {{"serve", "echo", "--listen", "tcp://0.0.0.0:0"}, "--addr"},
    {{"serve", "echo", "--gateway", "bogus"}, "bogus"},
    {{"serve", "echo", "--protocol", "morse"}, "morse"},
    {{"serve", "echo", "--no-register", "--register", "web"}, "--no-register"},
    {{"serve", "echo", "--no-register", "--tls-ca", "x"}, "--tls-"},
    {{"serve", "echo", "--listen", "tcp://127.0.0.1:0", "--listen", "x://y"}, "x://y"},
    {{"serve", "echo", "--listen", "tcp://127.0.0.1:0?x=1"}, "x=1"},
    {{"ping", "bogus"}, "bogus"},
    {{"ping", "x://y"}, "x://y"},
    {{"ping", "tcp://127.0.0.1:1?x=1"}, "x=1"},
    {{"ping", "tcp://127.0.0.1:1", "--interval", "0"}, "--interval"},
    {{"ping", "tcp://127.0.0.1:1", "--size", "1000001"}, "--size"},
    {{"ping", "tcp://127.0.0.1:1", "--tls-ca", "x"}, "--tls-"},
    {{"gateway", "--client-addr", "bogus"}, "bogus"},
    {{"gateway", "-ClientIdleTimeout", "5"}, "5"},
    {{"gateway", "-MaxPacket=lots"}, "lots"},
    {{"gateway", "--max-packet", "0"}, "limit"},
};

START_TEST(values_that_cannot_be_used_are_named)
{
    const char *const *words = mistakes[_i].words;
    setenv("FAIRWAY_STORE", STORE, 1);
    clit_refused(clit_run(words[0], words[1], words[2], words[3], words[4], words[5], words[6],
                          words[7], NULL),
                 USAGE, mistakes[_i].named);
}
END_TEST

START_TEST(the_environment_gives_defaults)
{
    const char *store = clit_lmdb_url();
    setenv("FAIRWAY_STORE", store, 1);
    clit_out("kv", "put", "a", "1");
    ck_assert_str_eq(clit_field(clit_out("kv", "get", "a", "--json"), "value"), "1");
    setenv("FAIRWAY_STORE", clit_lmdb_url(), 1);
    clit_refused(clit_run("kv", "get", "a", NULL), 1, "a: not found");
    ck_assert_str_eq(clit_field(clit_out("--store", store, "kv", "get", "a", "--json"), "value"),
                     "1"); /* the command line wins */
    setenv("FAIRWAY_STORE", "bogus://x", 1);
    clit_refused(clit_run("kv", "get", "a", NULL), USAGE, "bogus://x");
    setenv("FAIRWAY_STORE", store, 1);

    setenv("FAIRWAY_JSON", "1", 1);
    ck_assert_str_eq(clit_field(clit_out("kv", "get", "a"), "value"), "1");
    ck_assert_ptr_null(strchr(clit_out("kv", "get", "a", "--json=false"), '{'));
    setenv("FAIRWAY_JSON", "0", 1);
    ck_assert_ptr_null(strchr(clit_out("kv", "get", "a"), '{'));
    setenv("FAIRWAY_JSON", "maybe", 1);
    clit_refused(clit_run("kv", "get", "a", NULL), USAGE, "FAIRWAY_JSON");
    setenv("FAIRWAY_JSON", "", 1); /* as if it were not there */
    ck_assert_ptr_null(strchr(clit_out("kv", "get", "a"), '{'));
    unsetenv("FAIRWAY_JSON");

    setenv("FAIRWAY_TTL", "1h", 1);
    clit_out("kv", "put", "leased", "1");
    ck_assert_str_ne(clit_field(clit_out("kv", "get", "leased", "--json"), "lease"), "(none)");
    clit_out("kv", "put", "free", "1", "--ttl", "0");
    ck_assert_str_eq(clit_field(clit_out("kv", "get", "free", "--json"), "lease"), "(none)");
    setenv("FAIRWAY_TTL", "soon", 1);
    clit_refused(clit_run("kv", "put", "a", "1", NULL), USAGE, "FAIRWAY_TTL");
    clit_out("kv", "get", "a"); /* has no such option */
    unsetenv("FAIRWAY_TTL");
    setenv("FAIRWAY_LOG_LEVEL", "loud", 1);
    clit_refused(clit_run("version", NULL), USAGE, "loud");
}
END_TEST

START_TEST(global_options_stand_before_and_after_the_command)
{
    const char *store = clit_lmdb_url(), *equals = clit_format("--store=%s", store);
    clit_out("--store", store, "--timeout", "10s", "kv", "put", "a", "1");
    clit_out(equals, "--json", "kv", "put", "b", "2");
    clit_out("kv", "get", "--store", store, "a");
    ck_assert_str_eq(clit_field(clit_out("kv", "get", "b", "--json", "--store", store), "value"),
                     "2");
    ck_assert_str_eq(clit_field(clit_out("--json", "kv", "get", equals, "b"), "value"), "2");
    ck_assert_str_eq(clit_field(clit_out("-json", "-store", store, "kv", "get", "b"), "value"),
                     "2"); /* as Go's programs take them */
    ck_assert_str_eq(
        clit_field(clit_out("--store", "lmdb:/nowhere", "--json", "kv", "get", "b", equals),
                   "value"),
        "2"); /* the last one counts */
}
END_TEST

START_TEST(after_two_dashes_nothing_is_an_option)
{
    const char *store = clit_lmdb_url();
    clit_out("--store", store, "kv", "put", "--", "--json", "--help");
    ck_assert_str_eq(
        clit_field(clit_out("--store", store, "--json", "kv", "get", "--", "--json"), "value"),
        "--help");
}
END_TEST

START_TEST(the_version_is_told)
{
    const char *out = clit_out("version");
    ck_assert_int_eq(strncmp(out, "fairway ", 8), 0);
    const char *version = clit_format("%.*s", (int)strcspn(out + 8, "\n"), out + 8);
    ck_assert(strspn(version, "0123456789.") == strlen(version) && *version);
    ck_assert_str_eq(clit_field(clit_out("version", "--json"), "version"), version);
    ck_assert_uint_eq(clit_lines(clit_out("--json", "version")), 1);
}
END_TEST

START_TEST(output_that_goes_nowhere_is_a_failure)
{
    ck_assert_int_eq(clit_shell("\"$FAIRWAY\" version >/dev/full")->code, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("usage");
    TCase *tcase = clit_tcase(suite, "commands", 60);
    tcase_add_loop_test(tcase, every_command_helps, 0, COMMANDS);
    tcase_add_loop_test(tcase, every_command_names_an_unknown_option, 0, COMMANDS);
    tcase_add_loop_test(tcase, every_command_counts_its_operands, 0, COMMANDS);
    tcase_add_loop_test(tcase, commands_that_open_a_store_name_a_bad_url, 0, COMMANDS);
    tcase_add_test(tcase, an_unknown_command_is_named);
    tcase_add_test(tcase, without_a_command_there_is_help_or_a_refusal);
    tcase_add_test(tcase, the_version_is_told);
    tcase_add_test(tcase, output_that_goes_nowhere_is_a_failure);
    tcase = clit_tcase(suite, "options", 60);
    tcase_add_loop_test(tcase, values_that_cannot_be_used_are_named, 0,
                        sizeof mistakes / sizeof *mistakes);
    tcase_add_test(tcase, the_environment_gives_defaults);
    tcase_add_test(tcase, global_options_stand_before_and_after_the_command);
    tcase_add_test(tcase, after_two_dashes_nothing_is_an_option);
    return fwt_main(suite);
}
