/* What a store promises, in short; in full, and with the tests, in kvstore/README.md. */
#include "kvt.h"

const kvt_rule kvt_rules[] = {
    {"C1", "keys are paths: slashes at the ends and repeated ones do not count"},
    {"C2", "an empty or too long key is refused"},
    {"C3", "values are any bytes, a mebibyte of them everywhere"},
    {"C4", "arguments are copied"},
    {"C5", "put, get, exists and delete; what is missing is not found"},
    {"C6", "revisions grow for ever"},
    {"C7", "a list is sorted, whole, and ends at a path boundary"},
    {"C8", "a tree is deleted in one revision"},
    {"C9", "compare-and-swap acts at the revision it was given only"},
    {"C10", "an operation sees what was acknowledged before it"},
    {"C11", "operations at the same time have each their own outcome"},
    {"C12", "every operation is answered in its time"},
    {"C13", "a watch begins with the state, also of what is missing"},
    {"C14", "then every change, in order, once, without a gap"},
    {"C15", "the changes of one revision come together"},
    {"C16", "a deletion is not an empty value"},
    {"C17", "a watched tree ends at a path boundary"},
    {"C18", "lost history is said, and made up for"},
    {"C19", "lost contact is said, and found contact"},
    {"C20", "watches are independent, and may be closed inside"},
    {"C21", "pairs live as long as their lease"},
    {"C22", "a pair belongs to the lease of its last put"},
    {"C23", "a time to live ends a pair"},
    {"C24", "a lease can be put under from its grant to its loss"},
    {"C25", "the loss of a lease is noticed in time"},
    {"C26", "close ends everything, once"},
    {"C27", "bad URLs and options are refused"},
    {"C28", "any sequence of operations does what it does on mem:"},
    {"C29", "a transaction compares revisions and values"},
    {"C30", "it does one branch whole, in one revision"},
    {"C31", "its puts take leases"},
    {"C32", "bad transactions are refused, good ones copied"},
    {"C33", "transactions are atomic"},
    {"C34", "a lock has one holder, in the order of asking"},
    {"C35", "the fencing token grows from holder to holder"},
    {"C36", "a holder keeps its lock; a dead one's ends"},
    {"C37", "giving up leaves nothing behind"},
    {"C38", "a lock's key tells who has it"},
    {"C39", "the loss of a lock is told, once"},
    {"C40", "a key of somebody else's bars a lock"},
    {"C41", "a lock guards transactions"},
    {"C42", "the queue of a lock is neither listed nor watched"},
    {"C43", "bad keys and options of locks are refused"},
    {"C44", "locks in callbacks, and closing, in every state"},
    {"C45", "waiting calls do what the others do"},
    {"C46", "a watch is read event by event, with a time limit"},
    {"C47", "leases and locks are kept while the program does something else"},
    {"C48", "many operations in flight, and closing with things open"},
    {"C49", "what the suites of libkv and valkeyrie check"},
};
const size_t kvt_rules_count = KVT_COUNT(kvt_rules);

const kvt_rule *kvt_rule_find(const char *name, size_t len)
{
    for (size_t i = 0; i < kvt_rules_count; i++)
        if (strlen(kvt_rules[i].name) == len && !strncmp(kvt_rules[i].name, name, len))
            return &kvt_rules[i];
    return NULL;
}
