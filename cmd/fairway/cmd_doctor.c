/* fairway doctor: is everything around the services as it should be? */
#include "doctor.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_FINDINGS 3 /* on a line of text; in JSON there are more */

static void (*const checks[])(cli_doctor *doctor) = {doctor_check_store,  doctor_check_lease,
                                                     doctor_check_nodes,  doctor_check_clock,
                                                     doctor_check_drains, doctor_check_addresses};
#define CHECKS (sizeof checks / sizeof *checks)

/* ---- reports ---- */

void doctor_find(doctor_findings *found, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (found->count < DOCTOR_MAX_FINDINGS)
        found->texts[found->count] = strdup(text);
    found->count++;
}

static const char *finding(const doctor_findings *found, size_t i)
{
    return i < DOCTOR_MAX_FINDINGS && found->texts[i] ? found->texts[i] : "";
}

static void empty(doctor_findings *found)
{
    for (size_t i = 0; i < found->count && i < DOCTOR_MAX_FINDINGS; i++)
        free(found->texts[i]);
    *found = (doctor_findings){.count = 0};
}

static void print_json(const char *check, const char *level, const char *text, const char *remedy,
                       const doctor_findings *found)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "check", check);
    cJSON_AddStringToObject(json, "level", level);
    cJSON_AddStringToObject(json, "text", text);
    if (remedy)
        cJSON_AddStringToObject(json, "remedy", remedy);
    if (found) {
        cJSON_AddNumberToObject(json, "count", (double)found->count);
        cJSON *array = cJSON_AddArrayToObject(json, "found");
        for (size_t i = 0; i < found->count && i < DOCTOR_MAX_FINDINGS; i++)
            cJSON_AddItemToArray(array, cJSON_CreateString(finding(found, i)));
    }
    cli_print_json(json);
}

static void print_text(const char *check, const char *level, const char *text, const char *remedy,
                       const doctor_findings *found)
{
    printf("%-5s %-9s %s", level, check, text);
    size_t count = found ? found->count : 0;
    for (size_t i = 0; i < count && i < SHOWN_FINDINGS; i++)
        printf("%s%s", i ? ", " : ": ", finding(found, i));
    if (count > SHOWN_FINDINGS)
        printf(", and %zu more", count - SHOWN_FINDINGS);
    printf("%s%s\n", remedy ? " -- " : "", remedy ? remedy : "");
    fflush(stdout);
}

void doctor_report(cli_doctor *doctor, const char *check, doctor_level level,
                   doctor_findings *found, const char *remedy, const char *format, ...)
{
    static const char *const levels[] = {"ok", "warn", "FAIL"},
                             *json_levels[] = {"ok", "warn", "fail"};
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!doctor->ended && doctor->cli->json)
        print_json(check, json_levels[level], text, remedy, found);
    else if (!doctor->ended)
        print_text(check, levels[level], text, remedy, found);
    if (level == DOCTOR_FAIL && !doctor->cli->exit_code)
        doctor->cli->exit_code = EXIT_FAILED;
    if (found)
        empty(found);
}

/* ---- one after the other ---- */

static void end(cli_doctor *doctor, int exit_code)
{
    if (doctor->ended)
        return;
    doctor->ended = true;
    uv_close((uv_handle_t *)&doctor->timer, NULL);
    doctor_cancel_addresses(doctor);
    cli_stop(doctor->cli, exit_code);
}

bool doctor_failed(cli_doctor *doctor, const char *check, int status, const char *detail,
                   const char *remedy)
{
    bool has_detail = detail && *detail;
    doctor_report(doctor, check, DOCTOR_FAIL, NULL, remedy, "%s%s%s", fw_strerror(status),
                  has_detail ? ": " : "", has_detail ? detail : "");
    if (cli_exit_code(status) != EXIT_UNREACHABLE)
        return false;
    end(doctor, EXIT_UNREACHABLE);
    return true;
}

void doctor_done(cli_doctor *doctor)
{
    if (doctor->ended)
        return;
    uv_timer_stop(&doctor->timer);
    if (doctor->next == CHECKS)
        end(doctor, doctor->cli->exit_code);
    else
        checks[doctor->next++](doctor);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    end(arg, 128 + signal);
}

int cmd_doctor(cli_context *cli, int argc, char **argv)
{
    cli_doctor doctor = {.cli = cli, .ttl_ms = 10000};
    const cli_option options[] = {
        {"ttl", NULL, CLI_DURATION, &doctor.ttl_ms, "DUR",
         "of the lease that is asked for (default 10s)"},
        CLI_END,
    };
    int count,
        rc = cli_parse(
            cli, options, "",
            "Checks the store (writes, reads, watches and deletes a key below doctor/), its "
            "leases, what is\n"
            "registered, the clocks, requests to drain, and whether every address answers.\n"
            "A line for each: ok, warn or FAIL, and what to do about it. Exits with 0 if nothing "
            "has failed,\n"
            "with 3 if the store is out of reach.",
            argc, argv, 0, 0, &count);
    if (rc < 0 && doctor.ttl_ms < 1000)
        rc = cli_fail(EXIT_USAGE, "--ttl", "at least 1s");
    if (rc < 0)
        rc = cli_open(cli);
    if (rc < 0)
        rc = cli_open_store(cli);
    if (rc >= 0)
        return rc;
    uv_timer_init(fw_loop_uv(cli->loop), &doctor.timer);
    doctor.timer.data = &doctor;
    cli->on_signal = on_signal;
    cli->signal_arg = &doctor;
    doctor_done(&doctor); /* with nothing: the first check begins */
    rc = cli_run(cli);
    for (size_t i = 0; i < doctor.instance_count; i++)
        fw_instance_release(doctor.instances[i]);
    free(doctor.instances);
    empty(&doctor.reach.silent);
    empty(&doctor.reach.elsewhere);
    empty(&doctor.reach.loopback);
    return rc;
}
