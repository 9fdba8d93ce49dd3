/* ledger: looks at a ledger that no weir has open, or puts a backup in its place. */
#include <getopt.h>
#include <string.h>

#include "command/command.h"
#include "ledger/crypt.h"
#include "ledger/ledger_open.h"

static int told(err e, const struct diag *d, const struct ledger_report *r, const char *folder)
{
    if (e) {
        fprintf(stderr, "weir: %s\n", d->set ? d->text : err_text(e));
        return 1;
    }
    printf("%s: ok: batches to %llu (checkpoint to %llu), %llu records, %llu more left on disk\n", folder,
           (unsigned long long)r->last_seq, (unsigned long long)r->checkpoint_seq,
           (unsigned long long)r->records, (unsigned long long)r->left_on_disk);
    if (r->torn_bytes)
        printf("%s: the log ends in a torn batch, which was not answered: the next start cuts it\n", folder);
    return 0;
}

static int verify(const char *folder, struct bytes key)
{
    struct diag d = DIAG_NONE;
    struct ledger_report r;
    err e = ledger_verify(ledger_rules_registry, folder, key, &r, &d);
    return told(e, &d, &r, folder);
}

static int restore(const char *backup, const char *folder, struct bytes key)
{
    struct diag d = DIAG_NONE;
    struct ledger_report r;
    err e = ledger_restore(ledger_rules_registry, backup, folder, key, &r, &d);
    return told(e, &d, &r, folder);
}

static int ledger_run(int argc, char **argv)
{
    static const struct option options[] = { { "key", required_argument, NULL, 'k' }, { NULL, 0, NULL, 0 } };
    struct bytes key = BYTES_NONE;
    struct diag d = DIAG_NONE;
    int c;
    while ((c = getopt_long(argc, argv, "k:", options, NULL)) != -1) {
        if (c != 'k')
            return command_misused("", "");
        key = bytes_from(optarg);
    }
    if (crypt_source_check(key, &d) != OK)
        return command_misused("-k takes file:/path or env:NAME, not ", key.ptr);
    argc -= optind;
    argv += optind;
    if (argc == 2 && strcmp(argv[0], "verify") == 0)
        return verify(argv[1], key);
    if (argc == 3 && strcmp(argv[0], "restore") == 0)
        return restore(argv[1], argv[2], key);
    return command_misused("ledger takes verify FOLDER, or restore BACKUP FOLDER", "");
}

const struct command ledger_command = {
    .name = "ledger",
    .args = "[-k KEY] verify FOLDER | restore BACKUP FOLDER",
    .help = "look at a stopped ledger, or restore one",
    .run = ledger_run,
};
