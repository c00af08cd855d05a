-- The other steps, and the function that programs call to have steps done.

CREATE OR REPLACE FUNCTION claudetrace.register_v1(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    at bigint := now_s();
BEGIN
    INSERT INTO budgets AS b (name, shape, definition, since, used_at)
    SELECT q.name, q.shape, q.definition, at, at
    FROM jsonb_to_recordset(step -> 'budgets') AS q (name text, shape text, definition text)
    ORDER BY q.name
    ON CONFLICT (name, shape) DO UPDATE SET
        definition = CASE WHEN b.applied THEN b.definition ELSE excluded.definition END,
        used_at = excluded.used_at;
    RETURN (
        SELECT jsonb_agg(jsonb_build_array(b.name, b.id))
        FROM jsonb_to_recordset(step -> 'budgets') AS q (name text, shape text)
        JOIN budgets AS b ON b.name = q.name AND b.shape = q.shape
    );
END $$;

CREATE OR REPLACE FUNCTION claudetrace.id_before_v1(at double precision) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT substr(hex, 1, 8) || '-' || substr(hex, 9)
    FROM (SELECT lpad(to_hex((greatest(at, 0) * 1000)::bigint), 12, '0')) AS ids (hex)
$$;

-- Settles some calls whose owner is gone: by their rows, else at their estimates. Frees what batches hold in windows
-- that are over, and charges at the estimate what nobody can read any more. Whether there is more to do.
CREATE OR REPLACE FUNCTION claudetrace.sweep_v1(step jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    time_s double precision := now_s();
    few integer := step -> 'few';
    ended jsonb;
    each jsonb;
BEGIN
    SELECT jsonb_agg(jsonb_build_object('do', 'settle', 'call', q.call_id, 'usd', q.usd, 'calls', q.usd))
    INTO ended
    FROM (
        (
            SELECT DISTINCT o.call_id, NULL::integer AS usd
            FROM charges AS o
            LEFT JOIN owners AS w ON w.owner = o.owner
            WHERE o.basis = 0 AND o.owner <> '' AND COALESCE(w.until, 0) + (step -> 'grace_s')::double precision < time_s
            LIMIT few
        )
        UNION ALL
        (
            SELECT DISTINCT o.call_id, 0
            FROM charges AS o
            JOIN counters AS n ON n.budget_id = o.budget_id AND n.key = o.key AND n.slot = o.slot
            WHERE o.batch_id IS NOT NULL AND n.ends < time_s
            LIMIT few
        )
        UNION ALL
        (
            SELECT DISTINCT call_id, NULL::integer
            FROM charges
            WHERE batch_id IS NOT NULL AND call_id < id_before_v1(time_s - (step -> 'results_s')::double precision)
            LIMIT few
        )
    ) AS q;
    PERFORM lock_v1(ended);
    FOR each IN SELECT jsonb_array_elements(ended) LOOP
        PERFORM settle_v1(each, NULL);
    END LOOP;
    DELETE FROM owners AS w
    WHERE w.until + (step -> 'grace_s')::double precision < time_s AND NOT EXISTS (
        SELECT FROM charges AS o WHERE o.basis = 0 AND o.owner = w.owner
    );
    RETURN COALESCE(jsonb_array_length(ended) >= few, false);
END $$;

-- Forgets some of what is old; one host at a time. Whether there is more to do.
CREATE OR REPLACE FUNCTION claudetrace.forget_v1(step jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    time_s double precision := now_s();
    keep double precision := step -> 'keep_s';
    few integer := step -> 'few';
    gone integer;
    most integer := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('claudetrace.forget')) THEN
        RETURN false;
    END IF;
    PERFORM FROM counters AS n
    WHERE (n.budget_id, n.key, n.slot) IN (SELECT budget_id, key, slot FROM held WHERE until <= time_s ORDER BY until LIMIT few)
    ORDER BY n.budget_id, n.key, n.slot
    FOR UPDATE;
    DELETE FROM held WHERE (row_id, budget_id) IN (
        SELECT row_id, budget_id FROM held WHERE until <= time_s ORDER BY until LIMIT few
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    -- By the moment that a call's id begins with, and by age what is known by another id.
    DELETE FROM charges WHERE (call_id, item, budget_id) IN (
        SELECT call_id, item, budget_id FROM charges
        WHERE call_id < id_before_v1(time_s - keep) AND item = '' AND basis > 0 AND at < time_s - keep
        LIMIT few
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM charges WHERE (call_id, item, budget_id) IN (
        SELECT call_id, item, budget_id FROM charges WHERE item <> '' AND at < time_s - keep LIMIT few
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    DELETE FROM counters WHERE (budget_id, key, slot) IN (
        SELECT n.budget_id, n.key, n.slot
        FROM counters AS n
        JOIN budgets AS b ON b.id = n.budget_id
        WHERE n.reserved_calls = 0 AND n.held = 0 AND n.ends < time_s - CASE
            WHEN b.shape LIKE '%"per":"rolling:%' THEN (step -> 'keep_steps_s')::double precision
            WHEN n.key <> '' THEN keep
            ELSE (step -> 'keep_counters_s')::double precision
        END
        LIMIT few
        FOR UPDATE OF n SKIP LOCKED
    );
    GET DIAGNOSTICS gone = ROW_COUNT;
    most := greatest(most, gone);
    PERFORM FROM counters AS n
    WHERE (n.budget_id, n.key, n.slot) IN (
        SELECT budget_id, key, slot FROM grants WHERE ended_at IS NULL AND until <= time_s
    )
    ORDER BY n.budget_id, n.key, n.slot
    FOR UPDATE;
    UPDATE grants SET ended_at = until WHERE ended_at IS NULL AND until <= time_s;
    DELETE FROM fired WHERE forget_at < time_s;
    DELETE FROM alerts WHERE created_at < (time_s - keep) * 1000;
    DELETE FROM channels WHERE seen_at < (time_s - (step -> 'unseen_s')::double precision) * 1000;
    DELETE FROM deliveries AS d WHERE NOT EXISTS (SELECT FROM alerts AS a WHERE a.id = d.alert_id);
    RETURN most >= few;
END $$;

-- The outbox of alerts.
CREATE OR REPLACE FUNCTION claudetrace.raise_v1(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO fired (budget, mark, forget_at)
    VALUES (step ->> 'budget', step ->> 'mark', (step ->> 'forget_at')::bigint)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND OR step -> 'silent' IS NOT NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO alerts (id, alert, created_at)
    VALUES (step ->> 'id', step ->> 'alert', (now_s() * 1000)::bigint);
    RETURN step -> 'id';
END $$;

CREATE OR REPLACE FUNCTION claudetrace.deliver_v1(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    now_ms bigint := now_s() * 1000;
    found record;
BEGIN
    IF step ->> 'do' = 'see' THEN
        INSERT INTO channels (channel, since, seen_at)
        SELECT each, now_ms, now_ms FROM jsonb_array_elements_text(step -> 'channels') AS each ORDER BY each
        ON CONFLICT (channel) DO UPDATE SET seen_at = excluded.seen_at;
    ELSIF step ->> 'do' = 'delivered' THEN
        INSERT INTO deliveries (alert_id, channel, delivered_at)
        VALUES (step ->> 'id', step ->> 'channel', now_ms)
        ON CONFLICT (alert_id, channel) DO UPDATE
        SET delivered_at = COALESCE(deliveries.delivered_at, excluded.delivered_at);
    ELSIF step ->> 'do' = 'failed' THEN
        INSERT INTO deliveries (alert_id, channel, tries, due_at, reason)
        VALUES (step ->> 'id', step ->> 'channel', 1, now_ms + (step -> 'wait_ms')::bigint, step ->> 'reason')
        ON CONFLICT (alert_id, channel) DO UPDATE
        SET tries = deliveries.tries + 1, due_at = excluded.due_at, reason = excluded.reason;
    ELSE
        -- One at a time: a lease that is being taken cannot be seen.
        PERFORM pg_advisory_xact_lock(hashtext('claudetrace.claim ' || (step ->> 'channel')));
        SELECT a.id, a.alert, COALESCE(d.tries, 0) AS tries INTO found
        FROM alerts AS a
        JOIN channels AS c ON c.channel = step ->> 'channel'
        LEFT JOIN deliveries AS d ON d.alert_id = a.id AND d.channel = c.channel
        WHERE a.created_at >= c.since AND a.created_at >= now_ms - (step -> 'max_age_ms')::bigint
            AND d.delivered_at IS NULL AND COALESCE(d.due_at, 0) <= now_ms
        ORDER BY a.created_at, a.id
        LIMIT 1;
        IF found.id IS NOT NULL THEN
            INSERT INTO deliveries (alert_id, channel, due_at)
            VALUES (found.id, step ->> 'channel', now_ms + (step -> 'lease_ms')::bigint)
            ON CONFLICT (alert_id, channel) DO UPDATE SET due_at = excluded.due_at;
            RETURN jsonb_build_array(found.id, found.alert, found.tries);
        END IF;
    END IF;
    RETURN NULL;
END $$;

-- Counts calls that a budget has stopped, and gives how many it has in the window.
CREATE OR REPLACE FUNCTION claudetrace.block_v1(step jsonb) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found bigint;
BEGIN
    UPDATE counters AS n SET blocked_calls = n.blocked_calls + (step -> 'calls')::bigint
    FROM claims_v1(step) AS c
    WHERE n.budget_id = c.b AND n.key = c.k AND n.slot = c.s;
    SELECT sum(n.blocked_calls) INTO found
    FROM claims_v1(step) AS c
    JOIN counters AS n ON n.budget_id = c.b AND n.key = c.k AND n.slot BETWEEN c.since AND c.until;
    RETURN found;
END $$;

CREATE OR REPLACE FUNCTION claudetrace.step_v1(step jsonb, owner_id text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    what text := step ->> 'do';
BEGIN
    IF what = 'reserve' THEN
        IF step -> 'needed' IS NULL THEN
            RETURN reserve_v1(step, owner_id);
        END IF;
        PERFORM reserve_anyway_v1(step, owner_id);
    ELSIF what = 'settle' THEN
        PERFORM settle_v1(step, owner_id);
    ELSIF what = 'take' THEN
        PERFORM take_v1(step);
    ELSIF what = 'correct' THEN
        PERFORM correct_v1(step);
    ELSIF what = 'hold_batch' THEN
        PERFORM hold_batch_v1(step ->> 'call', step ->> 'batch');
    ELSIF what = 'withdraw' THEN
        WITH gone AS (
            DELETE FROM charges WHERE call_id = step ->> 'call' AND item = '' AND basis = 0 RETURNING *
        )
        UPDATE counters AS n SET reserved = n.reserved - g.picousd, reserved_calls = n.reserved_calls - g.calls
        FROM gone AS g
        WHERE n.budget_id = g.budget_id AND n.key = g.key AND n.slot = g.slot;
    ELSIF what = 'sweep' THEN
        RETURN to_jsonb(sweep_v1(step));
    ELSIF what = 'forget' THEN
        RETURN to_jsonb(forget_v1(step));
    ELSIF what = 'register' THEN
        RETURN register_v1(step);
    ELSIF what = 'use' THEN
        UPDATE budgets SET used_at = now_s() WHERE id IN (SELECT id::integer FROM jsonb_array_elements_text(step -> 'ids') AS id);
    ELSIF what = 'raise' THEN
        RETURN raise_v1(step);
    ELSIF what IN ('see', 'claim', 'delivered', 'failed') THEN
        RETURN deliver_v1(step);
    ELSIF what = 'release' THEN
        RETURN release_v1(step);
    ELSIF what = 'look' THEN
        RETURN NULL;
    ELSIF what = 'peers' THEN
        RETURN to_jsonb((SELECT count(*) FROM owners WHERE until > now_s()));
    ELSIF what = 'block' THEN
        RETURN to_jsonb(block_v1(step));
    ELSIF what = 'grant' THEN
        PERFORM grant_v1(step);
    ELSIF what = 'revoke' THEN
        UPDATE grants AS g SET ended_at = (step -> 'at')::bigint, ended_by = step ->> 'by'
        FROM claims_v1(step) AS c
        WHERE g.budget_id = c.b AND g.key = c.k AND g.slot BETWEEN c.since AND c.until AND g.ended_at IS NULL;
    ELSIF what = 'forget_who' THEN
        RETURN to_jsonb(forget_who_v1(step));
    ELSIF what = 'leave' THEN
        DELETE FROM owners AS w WHERE w.owner = owner_id AND NOT EXISTS (
        SELECT FROM charges AS o WHERE o.basis = 0 AND o.owner = w.owner
    );
    ELSE
        RAISE EXCEPTION 'there is no step %', what USING ERRCODE = 'feature_not_supported';
    END IF;
    RETURN NULL;
END $$;

-- Does the steps, all or none, and answers each; beside it the counters of their claims, with what is spent in the
-- window. Where the server's life is not the one that the program knows, nothing but that is answered.
CREATE OR REPLACE FUNCTION claudetrace.exchange_v1(said jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, claudetrace, pg_temp SET jit = off AS $$
DECLARE
    steps jsonb := said -> 'steps';
    life text;
    step jsonb;
    answers jsonb[];
    owner_id text := said ->> 'owner';
    lease_s double precision := said -> 'lease_s';
    durable boolean;
    is_known boolean;
    at double precision := now_s();
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'claudetrace needs transactions that are read committed, and this role''s are %',
            current_setting('transaction_isolation') USING ERRCODE = 'feature_not_supported';
    END IF;
    SELECT
        (SELECT l.id || ' ' || extract(epoch FROM pg_postmaster_start_time()) FROM lives AS l),
        (SELECT m.durable FROM meta AS m),
        EXISTS (SELECT FROM owners AS w WHERE w.owner = owner_id AND w.until > at + lease_s * 0.7)
    INTO life, durable, is_known;
    IF said ->> 'life' IS DISTINCT FROM life OR life IS NULL THEN
        RETURN jsonb_build_object('life', COALESCE(life, life_v1()), 'now', at);
    END IF;
    PERFORM
        set_config('lock_timeout', said ->> 'patience_ms', true),
        CASE WHEN said -> 'durable' IS NULL AND NOT durable THEN set_config('synchronous_commit', 'off', true) END;
    IF NOT is_known THEN
        INSERT INTO owners AS w (owner, until) VALUES (owner_id, at + lease_s)
        ON CONFLICT (owner) DO UPDATE SET until = excluded.until;
    END IF;
    PERFORM lock_v1(steps);
    FOR step IN SELECT jsonb_array_elements(steps) LOOP
        answers := answers || step_v1(step, owner_id);
    END LOOP;
    RETURN jsonb_build_object('life', life, 'answers', answers, 'counters', (
        SELECT jsonb_agg(jsonb_build_array(
            q.b, q.k, q.s,
            jsonb_build_array(
                n.spent, n.spent_calls, n.reserved, n.reserved_calls, NULL, n.held, n.granted, n.granted_calls
            ),
            t.totals
        ))
        FROM (
            SELECT DISTINCT c.b, c.k, c.s, c.since, c.until FROM jsonb_array_elements(steps) AS each, claims_v1(each) AS c
        ) AS q
        JOIN counters AS n ON n.budget_id = q.b AND n.key = q.k AND n.slot = q.s,
            totals_v1(q.b, q.k, q.since, q.until) AS t
    ));
END $$;
