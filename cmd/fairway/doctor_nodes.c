/* What stands in the store: nodes of instances, requests to drain, and whose clocks are off. */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

#define CLOCK_LEEWAY_S 5

/* Splits PREFIX/<service>/<id> in place; false if the key is not of that form. */
static bool split(char *key, const char *prefix, char **ret_service, char **ret_id)
{
    size_t len = strlen(prefix);
    char *slash = strncmp(key, prefix, len) ? NULL : strchr(key + len, '/');
    if (!slash)
        return false;
    *slash = 0;
    *ret_service = key + len;
    *ret_id = slash + 1;
    return true;
}

static const fw_instance *find(const cli_doctor *doctor, const char *service, const char *id)
{
    for (size_t i = 0; i < doctor->instance_count; i++)
        if (!strcmp(doctor->instances[i]->service, service) &&
            !strcmp(doctor->instances[i]->id, id))
            return doctor->instances[i];
    return NULL;
}

/* ---- nodes ---- */

static void look_at(cli_doctor *doctor, const fw_kv_pair *pair, doctor_findings *unreadable,
                    doctor_findings *forever)
{
    char key[FW_KV_MAX_KEY_BYTES + 1], *service, *id;
    const fw_instance *instance;
    snprintf(key, sizeof key, "%s", pair->key);
    int err = split(key, "services/", &service, &id)
                  ? fw_instance_decode(service, id, pair->value, &instance)
                  : FW_EKEY;
    if (err) {
        doctor_find(unreadable, "%s (%s)", pair->key, fw_strerror(err));
        return;
    }
    if (!pair->lease)
        doctor_find(forever, "%s/%s", service, id);
    doctor->instances[doctor->instance_count++] = instance;
}

static void on_nodes(const fw_kv_result *result, void *arg)
{
    cli_doctor *doctor = arg;
    doctor_findings unreadable = {.count = 0}, forever = {.count = 0};
    if (doctor->ended)
        return;
    if (result->status) {
        if (!doctor_failed(doctor, "nodes", result->status, result->detail, NULL))
            doctor_done(doctor);
        return;
    }
    doctor->instances = calloc(result->count + 1, sizeof *doctor->instances);
    for (size_t i = 0; doctor->instances && i < result->count; i++)
        look_at(doctor, &result->pairs[i], &unreadable, &forever);
    if (!doctor->instances)
        doctor_failed(doctor, "nodes", UV_ENOMEM, NULL, NULL);
    else if (unreadable.count)
        doctor_report(doctor, "nodes", DOCTOR_FAIL, &unreadable,
                      "consumers pass them over: fairway kv get KEY shows one, fairway kv del KEY "
                      "deletes it",
                      "%zu of %zu cannot be read", unreadable.count, result->count);
    else
        doctor_report(doctor, "nodes", DOCTOR_OK, NULL, NULL, "%zu, each can be read",
                      result->count);
    if (forever.count)
        doctor_report(doctor, "orphans", DOCTOR_WARN, &forever,
                      "they stay when their process has died: fairway kv del services/NAME/ID",
                      "%zu without a lease", forever.count);
    else
        doctor_report(doctor, "orphans", DOCTOR_OK, NULL, NULL, "none: each has a lease");
    doctor_done(doctor);
}

void doctor_check_nodes(cli_doctor *doctor)
{
    int err = fw_kv_list(doctor->cli->kv, "services", on_nodes, doctor);
    if (err && !doctor_failed(doctor, "nodes", err, NULL, NULL))
        doctor_done(doctor);
}

/* ---- clocks ---- */

void doctor_check_clock(cli_doctor *doctor)
{
    doctor_findings ahead = {.count = 0};
    int64_t now_s = cli_unix_ms() / 1000;
    size_t told = 0;
    for (size_t i = 0; i < doctor->instance_count; i++) {
        const fw_instance *instance = doctor->instances[i];
        told += instance->started != 0;
        if (instance->started > now_s + CLOCK_LEEWAY_S)
            doctor_find(&ahead, "%s/%s by %lld s", instance->service, instance->id,
                        (long long)(instance->started - now_s));
    }
    if (ahead.count)
        doctor_report(doctor, "clock", DOCTOR_WARN, &ahead,
                      "this machine's clock or theirs is off: is time synchronised?",
                      "%zu of %zu instances have started in the future", ahead.count, told);
    else
        doctor_report(doctor, "clock", DOCTOR_OK, NULL, NULL,
                      "of %zu instances that tell when they started, none did so in the future",
                      told);
    doctor_done(doctor);
}

/* ---- requests to drain ---- */

static void on_drains(const fw_kv_result *result, void *arg)
{
    cli_doctor *doctor = arg;
    doctor_findings gone = {.count = 0};
    if (doctor->ended)
        return;
    if (result->status) {
        if (!doctor_failed(doctor, "drains", result->status, result->detail, NULL))
            doctor_done(doctor);
        return;
    }
    for (size_t i = 0; i < result->count; i++) {
        char key[FW_KV_MAX_KEY_BYTES + 1], *service, *id;
        snprintf(key, sizeof key, "%s", result->pairs[i].key);
        if (!split(key, "drains/", &service, &id))
            doctor_find(&gone, "%s (no such name)", result->pairs[i].key);
        else if (!find(doctor, service, id))
            doctor_find(&gone, "%s/%s", service, id);
    }
    if (gone.count)
        doctor_report(doctor, "drains", DOCTOR_WARN, &gone,
                      "an instance of that name would be offline at once: fairway drain NAME/ID "
                      "--resume takes it back",
                      "%zu of %zu requests are for instances that are not there", gone.count,
                      result->count);
    else
        doctor_report(doctor, "drains", DOCTOR_OK, NULL, NULL, "%zu requests stand", result->count);
    doctor_done(doctor);
}

void doctor_check_drains(cli_doctor *doctor)
{
    int err = fw_kv_list(doctor->cli->kv, "drains", on_drains, doctor);
    if (err && !doctor_failed(doctor, "drains", err, NULL, NULL))
        doctor_done(doctor);
}
