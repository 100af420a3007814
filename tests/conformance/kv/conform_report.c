/* The table of fairway kv-conform: a row for each test when it has ended, as text or as JSON. */
#include "conform.h"

static const struct {
    fw_kv_capability bit;
    const char *name, *can, *cannot;
} capabilities[] = {
    {FW_KV_CAN_SHARE_PROCESSES, "share_processes", "other processes see the store",
     "lives in one process"},
    {FW_KV_CAN_SHARE_MACHINES, "share_machines", "other machines see the store",
     "lives on one machine"},
    {FW_KV_CAN_PERSIST, "persist", "outlives its last user", "ends with its last user"},
    {FW_KV_CAN_TXN, "txn", "has transactions",
     "has no transactions (their tests look whether it says so)"},
    {FW_KV_CAN_SEE_EVERY_CHANGE, "see_every_change", "watches see every change",
     "watches may merge changes of a key (their tests allow for it)"},
    {FW_KV_CAN_RESUME, "resume", "watches go on after a loss of contact",
     "watches compare the state after a loss of contact"},
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

static cJSON *json_rules(const kvt_test *test)
{
    cJSON *rules = cJSON_CreateArray();
    for (const char *at = test->rules; *at; at += strspn(at, " ")) {
        char name[16];
        size_t len = strcspn(at, " ");
        snprintf(name, sizeof name, "%.*s", (int)len, at);
        cJSON_AddItemToArray(rules, cJSON_CreateString(name));
        at += len;
    }
    return rules;
}

static const kvt_rule *first_rule(const kvt_test *test)
{
    return kvt_rule_find(test->rules, strcspn(test->rules, " "));
}

static cJSON *json_test(const kvt_test *test)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "rules", json_rules(test));
    cJSON_AddStringToObject(json, "promise", first_rule(test)->promise);
    cJSON_AddStringToObject(json, "group", test->group);
    cJSON_AddStringToObject(json, "test", test->name);
    return json;
}

void conform_report_list(bool json)
{
    for (size_t i = 0; i < kvt_tests_count; i++) {
        const kvt_test *test = &kvt_tests[i];
        if (!test->chosen)
            continue;
        if (json)
            cli_print_json(json_test(test));
        else
            printf("%-8s %-13s %s\n         %-13s %s\n", test->rules, test->group, test->name, "",
                   first_rule(test)->promise);
    }
}

void conform_report_start(conform_report *report, const char *store)
{
    report->start_ms = report->last_ms = now_ms();
    while (report->test < kvt_tests_count && !kvt_tests[report->test].chosen)
        report->test++;
    if (report->json)
        return;
    printf("%s\n", store);
    for (size_t i = 0; i < KVT_COUNT(capabilities); i++)
        printf("  %s\n", report->capabilities & capabilities[i].bit ? capabilities[i].can
                                                                    : capabilities[i].cannot);
    printf("\n%-7s %-8s %6s  %s\n", "rule", "result", "ms", "test: what it is about");
}

static void print_row(const conform_report *report, const kvt_test *test)
{
    bool passed = !*report->failure;
    if (report->json) {
        cJSON *json = json_test(test);
        cJSON_AddStringToObject(json, "result", passed ? "passed" : "failed");
        cJSON_AddNumberToObject(json, "ms", (double)report->test_ms);
        if (!passed)
            cJSON_AddStringToObject(json, "failure", report->failure);
        cli_print_json(json);
        return;
    }
    printf("%-7s %-8s %6llu  %s: %s\n", test->rules, passed ? "passed" : "FAILED",
           (unsigned long long)report->test_ms, test->name, first_rule(test)->promise);
    if (!passed)
        printf("%25s%s\n", "", report->failure);
    fflush(stdout);
}

/* Tests run in the order in which they were added; the runs of one follow each other. */
static void end_run(conform_report *report, const char *failure)
{
    if (report->test == kvt_tests_count)
        return;
    const kvt_test *test = &kvt_tests[report->test];
    uint64_t now = now_ms();
    report->test_ms += now - report->last_ms;
    report->last_ms = now;
    if (failure && !*report->failure)
        snprintf(report->failure, sizeof report->failure, "%s", failure);
    if (++report->runs < test->runs)
        return;
    print_row(report, test);
    if (*report->failure)
        report->failed++;
    else
        report->passed++;
    report->runs = 0;
    report->test_ms = 0;
    *report->failure = 0;
    do
        report->test++;
    while (report->test < kvt_tests_count && !kvt_tests[report->test].chosen);
}

void conform_report_line(conform_report *report, const char *line)
{
    bool passed = !strncmp(line, "ok ", 3);
    if (!passed && strncmp(line, "not ok ", 7))
        return;
    /* "not ok 3 - FILE:GROUP:NAME: MESSAGE" */
    const char *file = strstr(line, " - ");
    if (file)
        end_run(report, passed ? NULL : file + 3);
}

int conform_report_end(conform_report *report, int interrupted)
{
    size_t missing = 0;
    for (size_t i = report->test; i < kvt_tests_count; i++)
        missing += kvt_tests[i].chosen;
    double seconds = (double)(now_ms() - report->start_ms) / 1000;
    int code = interrupted                 ? 128 + interrupted
               : report->failed || missing ? EXIT_FAILED
                                           : EXIT_DONE;
    if (report->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddBoolToObject(json, "conforms", code == EXIT_DONE);
        cJSON_AddNumberToObject(json, "passed", (double)report->passed);
        cJSON_AddNumberToObject(json, "failed", (double)report->failed);
        cJSON_AddNumberToObject(json, "not_run", (double)missing);
        cJSON_AddNumberToObject(json, "seconds", seconds);
        cJSON *can = cJSON_AddObjectToObject(json, "capabilities");
        for (size_t i = 0; i < KVT_COUNT(capabilities); i++)
            cJSON_AddBoolToObject(can, capabilities[i].name,
                                  report->capabilities & capabilities[i].bit);
        cli_print_json(json);
        return code;
    }
    printf("\n%zu passed, %zu failed", report->passed, report->failed);
    if (missing)
        printf(", %zu not run", missing);
    printf(", in %.1f s%s\n", seconds, interrupted ? "; interrupted" : "");
    fflush(stdout);
    return code;
}
