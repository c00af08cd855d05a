-- What may be spent and what was: one row a budget, for as long as what it is for and its window stay the same.
CREATE TABLE budgets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    shape TEXT NOT NULL,
    definition TEXT NOT NULL,
    since INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    UNIQUE (name, shape)
) STRICT;

-- Money is whole dollars and the picodollars beside them: picodollars alone overflow at 9.2 million dollars.
CREATE TABLE counters (
    budget_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    slot INTEGER NOT NULL,
    ends INTEGER,
    spent_usd INTEGER NOT NULL DEFAULT 0,
    spent_picousd INTEGER NOT NULL DEFAULT 0 CHECK (spent_picousd BETWEEN 0 AND 999999999999),
    spent_calls INTEGER NOT NULL DEFAULT 0,
    reserved_picousd INTEGER NOT NULL DEFAULT 0 CHECK (reserved_picousd >= 0),
    reserved_calls INTEGER NOT NULL DEFAULT 0 CHECK (reserved_calls >= 0),
    held_picousd INTEGER NOT NULL DEFAULT 0 CHECK (held_picousd >= 0),
    granted_usd INTEGER NOT NULL DEFAULT 0 CHECK (granted_usd >= 0),
    granted_picousd INTEGER NOT NULL DEFAULT 0 CHECK (granted_picousd BETWEEN 0 AND 999999999999),
    granted_calls INTEGER NOT NULL DEFAULT 0 CHECK (granted_calls >= 0),
    blocked_calls INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (budget_id, key, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX counters_by_end ON counters (ends) WHERE ends IS NOT NULL;

-- What calls are charged. A call's own charge has no `item`; beside it are the rows of the ledger that were taken into
-- account, each once, which count by themselves where the call has no charge of its own.
-- `basis`: 0 set aside while it runs, 1 the estimate, 2 its rows, 3 what its owner said; what is higher replaces what is
-- lower. `owner`: the process of a call that runs, empty for a batch. `offered`: a row of it came after its owner's word.
CREATE TABLE charges (
    call_id TEXT NOT NULL,
    item TEXT NOT NULL DEFAULT '',
    budget_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    slot INTEGER NOT NULL,
    basis INTEGER NOT NULL,
    picousd INTEGER,
    calls INTEGER NOT NULL,
    owner TEXT,
    batch_id TEXT,
    offered INTEGER NOT NULL DEFAULT 0,
    at INTEGER NOT NULL,
    PRIMARY KEY (call_id, item, budget_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX charges_open ON charges (owner) WHERE owner IS NOT NULL;
CREATE INDEX charges_of_batches ON charges (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX charges_of_rows ON charges (at) WHERE item <> '';

-- What cut streams can still be billed, by the ledger's row of each, in the budgets that want it held. What is let go
-- by command stays with 0 until its time. A counter's `held_picousd` is the sum of its rows.
CREATE TABLE held (
    row_id TEXT NOT NULL,
    budget_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    slot INTEGER NOT NULL,
    picousd INTEGER NOT NULL CHECK (picousd >= 0),
    until INTEGER NOT NULL,
    PRIMARY KEY (row_id, budget_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX held_by_end ON held (until);

CREATE TRIGGER held_more AFTER INSERT ON held BEGIN
    UPDATE counters
    SET held_picousd = held_picousd + new.picousd
    WHERE budget_id = new.budget_id AND key = new.key AND slot = new.slot;
END;

CREATE TRIGGER held_otherwise AFTER UPDATE OF picousd ON held BEGIN
    UPDATE counters
    SET held_picousd = held_picousd - old.picousd + new.picousd
    WHERE budget_id = new.budget_id AND key = new.key AND slot = new.slot;
END;

CREATE TRIGGER held_no_more AFTER DELETE ON held BEGIN
    UPDATE counters
    SET held_picousd = held_picousd - old.picousd
    WHERE budget_id = old.budget_id AND key = old.key AND slot = old.slot;
END;

-- Room on top of a limit, in one window. What has ended stays as history. A counter's `granted_…` are the sum of its
-- grants that have not.
CREATE TABLE grants (
    id INTEGER PRIMARY KEY,
    budget_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    slot INTEGER NOT NULL,
    usd INTEGER NOT NULL CHECK (usd >= 0),
    picousd INTEGER NOT NULL CHECK (picousd BETWEEN 0 AND 999999999999),
    calls INTEGER NOT NULL CHECK (calls >= 0),
    made_at INTEGER NOT NULL,
    made_by TEXT NOT NULL,
    why TEXT NOT NULL,
    until INTEGER,
    ended_at INTEGER,
    ended_by TEXT
) STRICT;

CREATE INDEX grants_in_force ON grants (budget_id, key, slot) WHERE ended_at IS NULL;

CREATE TRIGGER granted AFTER INSERT ON grants BEGIN
    UPDATE counters
    SET granted_usd = granted_usd + new.usd + (granted_picousd + new.picousd) / 1000000000000,
        granted_picousd = (granted_picousd + new.picousd) % 1000000000000,
        granted_calls = granted_calls + new.calls
    WHERE budget_id = new.budget_id AND key = new.key AND slot = new.slot;
END;

CREATE TRIGGER granted_no_more AFTER UPDATE OF ended_at ON grants WHEN old.ended_at IS NULL BEGIN
    UPDATE counters
    SET granted_usd = granted_usd - old.usd - (granted_picousd < old.picousd),
        granted_picousd = (granted_picousd - old.picousd + 1000000000000) % 1000000000000,
        granted_calls = granted_calls - old.calls
    WHERE budget_id = old.budget_id AND key = old.key AND slot = old.slot;
END;

-- What has been told, once in its window across all processes.
CREATE TABLE fired (
    budget TEXT NOT NULL,
    mark TEXT NOT NULL,
    forget_at INTEGER,
    PRIMARY KEY (budget, mark)
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    alert TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX alerts_by_age ON alerts (created_at);

-- `since`: a channel gets what is raised from then on. `seen_at`: when a program last had it.
CREATE TABLE channels (
    channel TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    alert_id TEXT NOT NULL,
    channel TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL DEFAULT 0,
    delivered_at INTEGER,
    reason TEXT,
    PRIMARY KEY (alert_id, channel)
) STRICT, WITHOUT ROWID;
