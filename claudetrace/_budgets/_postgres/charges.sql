-- What programs of this release call: `exchange_v1` to change, `look_v1` to read. Those of the release before stay.
-- In a claim, `o` is its place, `b` the budget, `k` the key, `s` the slot, `e` its end, `since` and `until` the slots
-- that the limit holds for, `lo` and `hi` the time in which all this is so.
CREATE OR REPLACE FUNCTION claudetrace.now_s() RETURNS double precision
LANGUAGE sql VOLATILE AS $$ SELECT extract(epoch FROM clock_timestamp())::double precision $$;

CREATE OR REPLACE FUNCTION claudetrace.claims_v1(step jsonb) RETURNS TABLE (
    o integer, b integer, k text, s bigint, e bigint, since bigint, until bigint, lo bigint, hi bigint,
    usd numeric, most bigint
) LANGUAGE sql IMMUTABLE AS $$
    SELECT * FROM jsonb_to_recordset(step -> 'claims') AS q (
        o integer, b integer, k text, s bigint, e bigint, since bigint, until bigint, lo bigint, hi bigint,
        usd numeric, most bigint
    )
$$;

-- Which server this is, and since when. Another answer than before: what was done last may be lost.
CREATE OR REPLACE FUNCTION claudetrace.life_v1() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found uuid := (SELECT id FROM lives);
BEGIN
    IF found IS NULL THEN
        INSERT INTO lives DEFAULT VALUES ON CONFLICT DO NOTHING;
        found := (SELECT id FROM lives);
    END IF;
    RETURN found || ' ' || extract(epoch FROM pg_postmaster_start_time());
END $$;

-- Locks each counter that the steps may change, in one order, with those that are yet to be made. A window that rolls
-- has a counter at slot -1, without spend: who reserves in one of its slots holds off who does in another.
CREATE OR REPLACE FUNCTION claudetrace.lock_v1(steps jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_calls text[] := ARRAY(SELECT step ->> 'call' FROM jsonb_array_elements(steps) AS step);
    of_batches text[] := ARRAY(
        SELECT step ->> 'batch' FROM jsonb_array_elements(steps) AS step WHERE step ->> 'batch' IS NOT NULL
    );
BEGIN
    INSERT INTO counters (budget_id, key, slot, ends)
    SELECT DISTINCT ON (c.b, c.k COLLATE "C", each.slot) c.b, c.k, each.slot, CASE WHEN each.slot >= 0 THEN c.e END
    FROM jsonb_array_elements(steps) AS step, claims_v1(step) AS c,
        unnest(CASE WHEN c.since < c.until THEN ARRAY[-1, c.s] ELSE ARRAY[c.s] END) AS each (slot)
    WHERE step ->> 'do' IN ('reserve', 'take', 'block', 'grant') AND NOT EXISTS (
        SELECT FROM counters AS known WHERE known.budget_id = c.b AND known.key = c.k AND known.slot = each.slot
    )
    ORDER BY c.b, c.k COLLATE "C", each.slot
    ON CONFLICT DO NOTHING;
    PERFORM FROM counters AS c
    WHERE (c.budget_id, c.key, c.slot) IN (
        SELECT q.b, q.k, each.slot
        FROM jsonb_array_elements(steps) AS step, claims_v1(step) AS q,
            unnest(CASE WHEN q.since < q.until THEN ARRAY[-1, q.s] ELSE ARRAY[q.s] END) AS each (slot)
        UNION ALL
        SELECT budget_id, key, slot FROM charges WHERE call_id = ANY (of_calls) AND item = ''
        UNION ALL
        SELECT budget_id, key, slot FROM charges WHERE batch_id = ANY (of_batches)
    )
    ORDER BY c.budget_id, c.key, c.slot
    FOR UPDATE;
END $$;

-- `used` and `calls`: what a limit is held against, less what was granted on top of it.
CREATE OR REPLACE FUNCTION claudetrace.totals_v1(of_budget integer, of_key text, since bigint, until bigint)
RETURNS TABLE (used numeric, calls bigint, totals jsonb) LANGUAGE sql STABLE AS $$
    SELECT
        COALESCE(sum(spent + reserved + held - granted), 0),
        COALESCE(sum(spent_calls + reserved_calls - granted_calls), 0)::bigint,
        jsonb_build_array(
            COALESCE(sum(spent), 0),
            COALESCE(sum(spent_calls), 0),
            COALESCE(sum(reserved), 0),
            COALESCE(sum(reserved_calls), 0),
            min(slot) FILTER (WHERE spent + reserved + spent_calls + reserved_calls > 0),
            COALESCE(sum(held), 0),
            COALESCE(sum(granted), 0),
            COALESCE(sum(granted_calls), 0),
            COALESCE(sum(blocked_calls), 0)
        )
    FROM counters
    WHERE budget_id = of_budget AND key = of_key AND slot BETWEEN since AND until
$$;

-- Sets aside in every budget, or in none and says why not: `late` with the time where a window is not that of now, else
-- `denied` with the first that has no room. A call that is known changes nothing.
CREATE OR REPLACE FUNCTION claudetrace.reserve_v1(step jsonb, owner_id text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    call text := step ->> 'call';
    needed numeric := step -> 'usd';
    needed_calls bigint := step -> 'calls';
    at double precision := now_s();
    refused jsonb;
    changed integer;
BEGIN
    IF EXISTS (SELECT FROM charges WHERE call_id = call AND item = '') THEN
        RETURN NULL;
    END IF;
    SELECT CASE
        WHEN at < c.lo OR at >= c.hi THEN jsonb_build_object('late', at)
        ELSE jsonb_build_object('denied', c.o, 'totals', t.totals)
    END
    INTO refused
    FROM claims_v1(step) AS c
    LEFT JOIN budgets AS b ON b.id = c.b AND b.applied
    CROSS JOIN LATERAL totals_v1(c.b, c.k, c.since, c.until) AS t
    WHERE at < c.lo OR at >= c.hi
        OR t.used + needed > CASE WHEN b.id IS NULL THEN c.usd ELSE b.limit_picousd END
        OR t.calls + needed_calls > CASE WHEN b.id IS NULL THEN c.most ELSE b.max_calls END
    ORDER BY at >= c.lo AND at < c.hi, c.o
    LIMIT 1;
    IF refused IS NOT NULL THEN
        RETURN refused;
    END IF;
    UPDATE counters AS n
    SET reserved = n.reserved + needed, reserved_calls = n.reserved_calls + needed_calls
    FROM claims_v1(step) AS c
    WHERE n.budget_id = c.b AND n.key = c.k AND n.slot = c.s;
    GET DIAGNOSTICS changed = ROW_COUNT;
    IF changed < jsonb_array_length(step -> 'claims') THEN
        RAISE EXCEPTION 'a counter was forgotten meanwhile' USING ERRCODE = 'serialization_failure';
    END IF;
    INSERT INTO charges (call_id, budget_id, key, slot, basis, picousd, calls, owner, at)
    SELECT call, c.b, c.k, c.s, 0, needed, needed_calls, owner_id, at
    FROM claims_v1(step) AS c;
    RETURN NULL;
END $$;

-- Sets aside where there is no room, too, for a call that runs already or that the server has lost. Its rows that were
-- counted by themselves are in it.
CREATE OR REPLACE FUNCTION claudetrace.reserve_anyway_v1(step jsonb, owner_id text) RETURNS void LANGUAGE sql AS $$
    WITH new AS (
        INSERT INTO charges (call_id, budget_id, key, slot, basis, picousd, calls, owner, at)
        SELECT
            step ->> 'call', c.b, c.k, c.s, 0,
            COALESCE((step ->> 'needed')::numeric, 0), COALESCE((step ->> 'needed_calls')::bigint, 1), owner_id, now_s()
        FROM claims_v1(step) AS c
        ON CONFLICT (call_id, item, budget_id) DO NOTHING
        RETURNING *
    )
    INSERT INTO counters AS n (budget_id, key, slot, ends, spent, spent_calls, reserved, reserved_calls)
    SELECT new.budget_id, new.key, new.slot, c.e, -rows.picousd, -rows.calls, new.picousd, new.calls
    FROM new
    JOIN claims_v1(step) AS c ON c.b = new.budget_id,
        LATERAL (
            SELECT COALESCE(sum(r.picousd), 0), COALESCE(sum(r.calls), 0)
            FROM charges AS r
            WHERE r.call_id = new.call_id AND r.item <> '' AND r.budget_id = new.budget_id
        ) AS rows (picousd, calls)
    ON CONFLICT (budget_id, key, slot) DO UPDATE SET
        spent = n.spent + excluded.spent,
        spent_calls = n.spent_calls + excluded.spent_calls,
        reserved = n.reserved + excluded.reserved,
        reserved_calls = n.reserved_calls + excluded.reserved_calls
$$;

-- Charges what the call's owner says, else what its rows say, else the estimate, where that rests on more than before.
-- How many budgets have the call.
CREATE OR REPLACE FUNCTION claudetrace.charge_v1(call text, said numeric, said_calls bigint, of_budget integer)
RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    found integer;
BEGIN
    WITH known AS (
        SELECT
            c.*,
            COALESCE(said, rows.picousd, c.picousd) AS cost,
            COALESCE(said_calls, c.calls) AS cost_calls,
            CASE WHEN said IS NOT NULL THEN 3 WHEN rows.picousd IS NOT NULL THEN 2 ELSE 1 END AS now
        FROM charges AS c, LATERAL (
            SELECT sum(r.picousd) AS picousd
            FROM charges AS r
            WHERE r.call_id = call AND r.item <> '' AND r.budget_id = c.budget_id
        ) AS rows
        WHERE c.call_id = call AND c.item = '' AND c.budget_id = COALESCE(of_budget, c.budget_id)
    ), more AS (
        SELECT * FROM known WHERE now > basis OR (now = 2 AND basis = 2)
    ), changed AS (
        UPDATE counters AS n
        SET
            reserved = n.reserved - CASE WHEN m.basis = 0 THEN m.picousd ELSE 0 END,
            reserved_calls = n.reserved_calls - CASE WHEN m.basis = 0 THEN m.calls ELSE 0 END,
            spent = n.spent + m.cost - CASE WHEN m.basis = 0 THEN 0 ELSE m.picousd END,
            spent_calls = n.spent_calls + m.cost_calls - CASE WHEN m.basis = 0 THEN 0 ELSE m.calls END
        FROM more AS m
        WHERE n.budget_id = m.budget_id AND n.key = m.key AND n.slot = m.slot
    ), replaced AS (
        UPDATE charges AS c
        SET basis = m.now, picousd = m.cost, calls = m.cost_calls, owner = NULL, batch_id = NULL
        FROM more AS m
        WHERE c.call_id = call AND c.item = '' AND c.budget_id = m.budget_id
    )
    SELECT count(*) INTO found FROM known;
    RETURN found;
END $$;

-- The call has ended. One that is not known, since the server has lost it, is charged to its claims.
CREATE OR REPLACE FUNCTION claudetrace.settle_v1(step jsonb, owner_id text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    said numeric := step ->> 'usd';
    said_calls bigint := step ->> 'calls';
    rest jsonb;
BEGIN
    IF charge_v1(step ->> 'call', said, said_calls, NULL) < jsonb_array_length(step -> 'claims') THEN
        PERFORM reserve_anyway_v1(step, owner_id);
        PERFORM charge_v1(step ->> 'call', said, said_calls, NULL);
    END IF;
    FOR rest IN SELECT jsonb_array_elements(step -> 'rests') LOOP
        PERFORM hold_v1(rest, step -> 'bound', c.budget_id, c.key, c.slot)
        FROM charges AS c
        WHERE c.call_id = step ->> 'call' AND c.item = '';
    END LOOP;
END $$;
