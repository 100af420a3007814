/*
 * fairway kv txn: a transaction, as JSON on standard input:
 *
 *     {"compare": [{"key": "a", "revision": 7},                   0: there is no such key
 *                  {"key": "b", "is": "!=", "value": "x"}],       is: = != < >
 *      "then": [{"put": "a", "value": "y"}, {"delete": "b"}, {"get": "c"}],
 *      "else": [{"get": "a"}]}
 *
 * Bytes that are no text stand as value_base64. What is not known is refused.
 */
#include "cmd_kv.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct txn {
    cli_context *cli;
    char *input;
    cJSON *json;
    fw_kv_compare compares[FW_KV_TXN_MAX];
    fw_kv_txn_op branches[2][FW_KV_TXN_MAX];
    fw_kv_txn txn;
    void *decoded[3 * FW_KV_TXN_MAX]; /* from base64 */
    size_t decoded_count;
};

static int mistake(const cJSON *item, const char *why)
{
    char *text = cJSON_PrintUnformatted(item);
    int code = cli_fail(EXIT_USAGE, text ? text : "transaction", why);
    free(text);
    return code;
}

/* ---- values ---- */

static int base64_digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Decodes into memory of at least three quarters of the text. False if it is not base64. */
static bool base64_decode(const char *text, uint8_t *out, size_t *ret_len)
{
    size_t len = strlen(text), padding = 0, n = 0;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
        padding++;
    if (len % 4)
        return false;
    uint32_t word = 0;
    for (size_t i = 0; i < len - padding; i++) {
        int digit = base64_digit(text[i]);
        if (digit < 0)
            return false;
        word = word << 6 | (uint32_t)digit;
        if (i % 4 == 1)
            out[n++] = (uint8_t)(word >> 4);
        else if (i % 4 == 2)
            out[n++] = (uint8_t)(word >> 2);
        else if (i % 4 == 3)
            out[n++] = (uint8_t)word;
    }
    *ret_len = n;
    return true;
}

/* The value of a comparison or put: ret_has tells whether there is one. */
static int take_value(struct txn *txn, const cJSON *item, fw_slice *ret_value, bool *ret_has)
{
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(item, "value");
    const cJSON *coded = cJSON_GetObjectItemCaseSensitive(item, "value_base64");
    *ret_has = text || coded;
    if (!*ret_has)
        return -1;
    if ((text && coded) || (text && !cJSON_IsString(text)) || (coded && !cJSON_IsString(coded)))
        return mistake(item, "the value is text, or base64");
    if (text) {
        *ret_value = (fw_slice){text->valuestring, strlen(text->valuestring)};
        return -1;
    }
    size_t len = 0;
    uint8_t *bytes = malloc(strlen(coded->valuestring) + 1);
    if (!bytes)
        return cli_fail_error("transaction", UV_ENOMEM, NULL);
    txn->decoded[txn->decoded_count++] = bytes;
    if (!base64_decode(coded->valuestring, bytes, &len))
        return mistake(item, "not base64");
    *ret_value = (fw_slice){bytes, len};
    return -1;
}

/* A revision: a number, or text where a number would not be exact. */
static bool take_revision(const cJSON *item, int64_t *ret_revision)
{
    if (cJSON_IsNumber(item)) {
        *ret_revision = (int64_t)item->valuedouble;
        return item->valuedouble >= 0 && item->valuedouble <= 9007199254740992.0 &&
               (double)*ret_revision == item->valuedouble;
    }
    if (!cJSON_IsString(item) || !isdigit((unsigned char)item->valuestring[0]))
        return false;
    char *end;
    errno = 0;
    *ret_revision = strtoll(item->valuestring, &end, 10);
    return !*end && !errno;
}

/* ---- the parts ---- */

static bool is_among(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

static int check_members(const cJSON *item, const char *const *names)
{
    if (!cJSON_IsObject(item))
        return mistake(item, "not an object");
    for (const cJSON *member = item->child; member; member = member->next) {
        if (!is_among(member->string, names))
            return mistake(item, "has a member that is not known");
        for (const cJSON *other = member->next; other; other = other->next)
            if (!strcmp(member->string, other->string))
                return mistake(item, "has a member twice");
    }
    return -1;
}

static int take_compare(struct txn *txn, const cJSON *item, fw_kv_compare *compare)
{
    static const char *const names[] = {"key", "is", "revision", "value", "value_base64", NULL};
    static const char *const relations[] = {"=", "!=", "<", ">"};
    int rc = check_members(item, names);
    if (rc >= 0)
        return rc;
    const cJSON *key = cJSON_GetObjectItemCaseSensitive(item, "key");
    const cJSON *is = cJSON_GetObjectItemCaseSensitive(item, "is");
    const cJSON *revision = cJSON_GetObjectItemCaseSensitive(item, "revision");
    if (!cJSON_IsString(key))
        return mistake(item, "a comparison has a key");
    *compare = (fw_kv_compare){.key = key->valuestring};
    if (is) {
        size_t i = 0;
        while (i < 4 && (!cJSON_IsString(is) || strcmp(relations[i], is->valuestring)))
            i++;
        if (i == 4)
            return mistake(item, "\"is\" is one of = != < >");
        compare->relation = (fw_kv_relation)i;
    }
    rc = take_value(txn, item, &compare->value, &compare->by_value);
    if (rc >= 0)
        return rc;
    if (compare->by_value == !!revision)
        return mistake(item, "a comparison has a revision or a value");
    if (revision && !take_revision(revision, &compare->revision))
        return mistake(item, "not a revision");
    return -1;
}

static int take_op(struct txn *txn, const cJSON *item, fw_kv_txn_op *op)
{
    static const char *const names[] = {"put", "get", "delete", "value", "value_base64", NULL};
    int rc = check_members(item, names);
    if (rc >= 0)
        return rc;
    *op = (fw_kv_txn_op){.key = NULL};
    for (size_t i = 0; i < 3; i++) {
        const cJSON *key = cJSON_GetObjectItemCaseSensitive(item, names[i]);
        if (!key)
            continue;
        if (op->key || !cJSON_IsString(key))
            return mistake(item, "an operation is one of put, get, delete, of a key");
        *op = (fw_kv_txn_op){.type = (fw_kv_txn_op_type)i, .key = key->valuestring};
    }
    bool has_value;
    if (!op->key)
        return mistake(item, "an operation is one of put, get, delete, of a key");
    rc = take_value(txn, item, &op->value, &has_value);
    if (rc < 0 && has_value != (op->type == FW_KV_TXN_PUT))
        rc = mistake(item, "put has a value, the others have none");
    return rc;
}

/* The list under a name; none is an empty one. */
static int take_list(struct txn *txn, const char *name, int branch, size_t *ret_count)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(txn->json, name);
    *ret_count = 0;
    if (list && !cJSON_IsArray(list))
        return mistake(list, "not a list");
    for (const cJSON *item = list ? list->child : NULL; item; item = item->next) {
        size_t i = (*ret_count)++;
        if (i == FW_KV_TXN_MAX)
            return cli_fail_error(name, FW_ELIMIT, NULL);
        int rc = branch < 0 ? take_compare(txn, item, &txn->compares[i])
                            : take_op(txn, item, &txn->branches[branch][i]);
        if (rc >= 0)
            return rc;
    }
    return -1;
}

static int parse(struct txn *txn)
{
    static const char *const names[] = {"compare", "then", "else", NULL};
    fw_slice input;
    int rc = kv_read_value("-", &input, &txn->input);
    if (rc >= 0)
        return rc;
    if (input.len && memmem(input.data, input.len, "\\u0000", 6))
        return cli_fail(EXIT_USAGE, "\\u0000", "bytes that are no text stand as value_base64");
    const char *end = NULL;
    txn->json = cJSON_ParseWithLengthOpts(txn->input, input.len, &end, false);
    while (txn->json && end < txn->input + input.len && isspace((unsigned char)*end))
        end++;
    if (!txn->json || end != txn->input + input.len)
        return cli_fail(EXIT_USAGE, "standard input", "not JSON");
    rc = check_members(txn->json, names);
    if (rc < 0)
        rc = take_list(txn, "compare", -1, &txn->txn.compare_count);
    if (rc < 0)
        rc = take_list(txn, "then", 0, &txn->txn.then_count);
    if (rc < 0)
        rc = take_list(txn, "else", 1, &txn->txn.otherwise_count);
    txn->txn.compares = txn->compares;
    txn->txn.then = txn->branches[0];
    txn->txn.otherwise = txn->branches[1];
    return rc;
}

/* ---- the answer ---- */

static void print_json(const fw_kv_result *result)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddBoolToObject(json, "succeeded", result->succeeded);
    cli_json_add_int64(json, "revision", result->revision);
    cJSON *pairs = cJSON_AddArrayToObject(json, "pairs");
    for (size_t i = 0; i < result->count; i++) {
        const fw_kv_pair *pair = &result->pairs[i];
        if (pair->revision) {
            cJSON_AddItemToArray(pairs, kv_json_pair(pair));
            continue;
        }
        cJSON *missing = cJSON_CreateObject();
        cJSON_AddStringToObject(missing, "key", pair->key);
        cJSON_AddNumberToObject(missing, "revision", 0);
        cJSON_AddItemToArray(pairs, missing);
    }
    cli_print_json(json);
}

static void on_done(const fw_kv_result *result, void *arg)
{
    struct txn *txn = arg;
    if (result->status) {
        cli_stop(txn->cli, cli_fail_error("transaction", result->status, result->detail));
        return;
    }
    if (txn->cli->json) {
        print_json(result);
    } else {
        printf("%s\trevision %lld\n", result->succeeded ? "then" : "else",
               (long long)result->revision);
        for (size_t i = 0; i < result->count; i++) {
            const fw_kv_pair *pair = &result->pairs[i];
            if (!pair->revision)
                continue; /* --json tells which were missing */
            printf("%s\t", pair->key);
            kv_print_value_line(pair);
        }
    }
    cli_stop(txn->cli, result->succeeded ? EXIT_DONE : EXIT_CONFLICT);
}

static int run(struct txn *txn)
{
    int rc = parse(txn);
    if (rc < 0)
        rc = cli_open(txn->cli);
    if (rc < 0)
        rc = cli_open_store(txn->cli);
    if (rc >= 0)
        return rc;
    int err = fw_kv_do_txn(txn->cli->kv, &txn->txn, on_done, txn);
    if (err)
        cli_stop(txn->cli, cli_fail_error("transaction", err, NULL));
    return cli_run(txn->cli);
}

int cmd_kv_txn(cli_context *cli, int argc, char **argv)
{
    static const cli_option no_options[] = {CLI_END};
    int count, rc = cli_parse(
                   cli, no_options, "",
                   "Does a transaction, JSON on standard input:\n"
                   "  {\"compare\": [{\"key\": \"a\", \"revision\": 7}, {\"key\": \"b\", \"is\": "
                   "\"!=\", \"value\": \"x\"}],\n"
                   "   \"then\": [{\"put\": \"a\", \"value\": \"y\"}, {\"delete\": \"b\"}, "
                   "{\"get\": \"c\"}],\n"
                   "   \"else\": [{\"get\": \"a\"}]}\n"
                   "If all comparisons hold, \"then\" is done, else \"else\", in one revision. "
                   "Revision 0: there is\n"
                   "no such key. \"is\" is one of = (if it is left out), !=, <, >. value_base64 "
                   "takes any bytes.\n"
                   "Prints which branch it was, and what it has read. Exits with 4 if it was "
                   "\"else\".",
                   argc, argv, 0, 0, &count);
    if (rc >= 0)
        return rc;
    struct txn *txn = calloc(1, sizeof *txn);
    if (!txn)
        return cli_fail_error("transaction", UV_ENOMEM, NULL);
    txn->cli = cli;
    rc = run(txn);
    for (size_t i = 0; i < txn->decoded_count; i++)
        free(txn->decoded[i]);
    cJSON_Delete(txn->json);
    free(txn->input);
    free(txn);
    return rc;
}
