#include "made_history.h"

#include <stdlib.h>
#include <string.h>

chaos_record hist_records[HIST_CLIENTS][HIST_RECORDS];
chaos_client_history hist_clients[HIST_CLIENTS];
static chaos_pair hist_final[16];
chaos_histories hist_all;
static uint32_t hist_seqs[HIST_CLIENTS];
uint64_t hist_now;

void hist_setup(void)
{
    memset(hist_records, 0, sizeof hist_records);
    memset(hist_clients, 0, sizeof hist_clients);
    memset(hist_seqs, 0, sizeof hist_seqs);
    for (size_t i = 0; i < HIST_CLIENTS; i++)
        hist_clients[i].records = hist_records[i];
    hist_all = (chaos_histories){.clients = hist_clients,
                                 .client_count = HIST_CLIENTS,
                                 .final = hist_final,
                                 .sees_every_change = true,
                                 .answer_ms = 5000};
    hist_now = HIST_SECOND;
}

static chaos_record *hist_add(size_t client, chaos_what what, const char *key)
{
    ck_assert_uint_lt(hist_clients[client].count, HIST_RECORDS);
    chaos_record *record = &hist_records[client][hist_clients[client].count++];
    *record = (chaos_record){.time_ns = hist_now += 1000000, .what = (uint8_t)what};
    snprintf(record->key, sizeof record->key, "%s", key);
    return record;
}

uint64_t hist_invoke(size_t client, chaos_kind kind, const char *key, int64_t previous)
{
    chaos_record *record = hist_add(client, CHAOS_INVOKE, key);
    record->kind = (uint8_t)kind;
    record->previous = previous;
    record->op = chaos_op_id(client, ++hist_seqs[client]);
    return record->op;
}

void hist_answer(size_t client, uint64_t op, int status, int64_t revision)
{
    chaos_record *record = hist_add(client, CHAOS_RETURN, "");
    record->op = op;
    record->status = status;
    record->succeeded = !status;
    record->revision = revision;
}

uint64_t hist_done(size_t client, chaos_kind kind, const char *key, int64_t previous,
                   int64_t revision)
{
    uint64_t op = hist_invoke(client, kind, key, previous);
    hist_answer(client, op, FW_OK, revision);
    return op;
}

void hist_event(size_t client, fw_kv_event_type type, uint32_t batch, const char *key,
                int64_t revision, uint64_t op)
{
    chaos_record *record = hist_add(client, CHAOS_EVENT, key);
    record->event = (uint8_t)type;
    record->batch = batch;
    record->revision = revision;
    record->op = op;
}

void hist_hold(size_t client, chaos_what what, int64_t token)
{
    hist_add(client, what, "lock")->token = token;
}

void hist_left(const char *key, uint64_t op, int64_t revision)
{
    chaos_pair *pair = &hist_final[hist_all.final_count++];
    *pair = (chaos_pair){.op = op, .revision = revision};
    snprintf(pair->key, sizeof pair->key, "%s", key);
}

void hist_end(size_t client, int64_t revision)
{
    hist_event(client, FW_KV_PUT, 1000, CHAOS_END_KEY, revision, 1);
}

char *hist_check(size_t *ret_breaches)
{
    char *text;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    hist_all.final_ns = hist_now += 1000000;
    *ret_breaches = chaos_check(&hist_all, out);
    fclose(out);
    return text;
}

void hist_passes(void)
{
    size_t breaches;
    char *text = hist_check(&breaches);
    ck_assert_msg(!breaches, "%s", text);
    free(text);
}

void hist_breaks(const char *rule)
{
    size_t breaches;
    char *text = hist_check(&breaches), *line = text;
    ck_assert_msg(breaches > 0, "\"%s\" was not noticed", rule);
    while (*line) {
        ck_assert_msg(!strncmp(line, rule, strlen(rule)) && line[strlen(rule)] == ':',
                      "\"%s\" was wanted, and not: %s", rule, line);
        line = strchr(line, '\n') + 1;
    }
    free(text);
}
