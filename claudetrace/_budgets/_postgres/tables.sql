-- The budgets' store of many hosts. Programs may call its functions and touch none of its tables.
-- Whoever locks several counters does so in the order of their key; a counter's lock guards what is open, settled and
-- held in it. Money is picodollars.
CREATE TABLE IF NOT EXISTS claudetrace.meta (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version integer NOT NULL,
    durable boolean NOT NULL DEFAULT false
);

-- Emptied by a crash and unknown to another server: a new life tells that the last moments may be lost.
CREATE UNLOGGED TABLE IF NOT EXISTS claudetrace.lives (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);

-- `applied`: an administrator has set it, and no program can change it.
CREATE TABLE IF NOT EXISTS claudetrace.budgets (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    shape text NOT NULL,
    definition text NOT NULL,
    since bigint NOT NULL,
    used_at bigint NOT NULL,
    applied boolean NOT NULL DEFAULT false,
    limit_picousd numeric(38),
    max_calls bigint,
    UNIQUE (name, shape)
);

CREATE TABLE IF NOT EXISTS claudetrace.counters (
    budget_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    slot bigint NOT NULL,
    ends bigint,
    spent numeric(38) NOT NULL DEFAULT 0,
    spent_calls bigint NOT NULL DEFAULT 0,
    reserved numeric(38) NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    reserved_calls bigint NOT NULL DEFAULT 0 CHECK (reserved_calls >= 0),
    held numeric(38) NOT NULL DEFAULT 0 CHECK (held >= 0),
    granted numeric(38) NOT NULL DEFAULT 0 CHECK (granted >= 0),
    granted_calls bigint NOT NULL DEFAULT 0 CHECK (granted_calls >= 0),
    blocked_calls bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (budget_id, key, slot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

CREATE INDEX IF NOT EXISTS counters_by_end ON claudetrace.counters (ends) WHERE ends IS NOT NULL;

-- What calls are charged. A call's own charge has no `item`; beside it are the rows of ledgers that were taken into
-- account, each once, which count by themselves where the call has no charge of its own.
-- `basis`: 0 set aside while it runs, 1 the estimate, 2 its rows, 3 what its owner said; what is higher replaces what is
-- lower. `owner`: the process of a call that runs, empty for a batch.
CREATE TABLE IF NOT EXISTS claudetrace.charges (
    call_id text COLLATE "C" NOT NULL,
    item text COLLATE "C" NOT NULL DEFAULT '',
    budget_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    slot bigint NOT NULL,
    basis smallint NOT NULL,
    picousd numeric(38),
    calls bigint NOT NULL,
    owner text COLLATE "C",
    batch_id text COLLATE "C",
    at bigint NOT NULL,
    PRIMARY KEY (call_id, item, budget_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02);

CREATE INDEX IF NOT EXISTS charges_open ON claudetrace.charges (owner) WHERE basis = 0;
CREATE INDEX IF NOT EXISTS charges_of_batches ON claudetrace.charges (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS charges_of_rows ON claudetrace.charges USING brin (at);

-- Who has reservations, and until when that is so without another word.
CREATE TABLE IF NOT EXISTS claudetrace.owners (
    owner text COLLATE "C" PRIMARY KEY,
    until double precision NOT NULL
);

-- What cut streams can still be billed. What is let go by command stays with 0 until its time.
CREATE TABLE IF NOT EXISTS claudetrace.held (
    row_id text COLLATE "C" NOT NULL,
    budget_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    slot bigint NOT NULL,
    picousd numeric(38) NOT NULL CHECK (picousd >= 0),
    until bigint NOT NULL,
    PRIMARY KEY (row_id, budget_id)
);

CREATE INDEX IF NOT EXISTS held_by_end ON claudetrace.held (until);

-- Room on top of a limit, in one window. What has ended stays as history.
CREATE TABLE IF NOT EXISTS claudetrace.grants (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    budget_id integer NOT NULL,
    key text COLLATE "C" NOT NULL,
    slot bigint NOT NULL,
    picousd numeric(38) NOT NULL CHECK (picousd >= 0),
    calls bigint NOT NULL CHECK (calls >= 0),
    made_at bigint NOT NULL,
    made_by text NOT NULL,
    why text NOT NULL,
    until bigint,
    ended_at bigint,
    ended_by text
);

CREATE INDEX IF NOT EXISTS grants_in_force ON claudetrace.grants (budget_id, key, slot) WHERE ended_at IS NULL;

-- What has been told, once in its window across all hosts.
CREATE TABLE IF NOT EXISTS claudetrace.fired (
    budget text NOT NULL,
    mark text NOT NULL,
    forget_at bigint,
    PRIMARY KEY (budget, mark)
);

CREATE TABLE IF NOT EXISTS claudetrace.alerts (
    id text COLLATE "C" PRIMARY KEY,
    alert text NOT NULL,
    created_at bigint NOT NULL
);

CREATE INDEX IF NOT EXISTS alerts_by_age ON claudetrace.alerts (created_at);

-- `since`: a channel gets what is raised from then on. `seen_at`: when a program last had it.
CREATE TABLE IF NOT EXISTS claudetrace.channels (
    channel text PRIMARY KEY,
    since bigint NOT NULL,
    seen_at bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS claudetrace.deliveries (
    alert_id text COLLATE "C" NOT NULL,
    channel text NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    due_at bigint NOT NULL DEFAULT 0,
    delivered_at bigint,
    reason text,
    PRIMARY KEY (alert_id, channel)
);
