-- What commands change.

CREATE OR REPLACE FUNCTION claudetrace.release_v1(step jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    ids integer[] := ARRAY(SELECT id FROM budgets WHERE name = step ->> 'name');
    found jsonb;
BEGIN
    PERFORM FROM counters AS n
    WHERE n.budget_id = ANY (ids) AND n.held > 0 AND (step ->> 'key' IS NULL OR n.key = step ->> 'key')
    ORDER BY n.budget_id, n.key, n.slot
    FOR UPDATE;
    SELECT jsonb_agg(h.picousd) INTO found
    FROM held AS h
    WHERE h.budget_id = ANY (ids) AND h.picousd > 0 AND (step ->> 'key' IS NULL OR h.key = step ->> 'key');
    UPDATE held AS h SET picousd = 0
    WHERE h.budget_id = ANY (ids) AND h.picousd > 0 AND (step ->> 'key' IS NULL OR h.key = step ->> 'key');
    RETURN COALESCE(found, '[]');
END $$;

CREATE OR REPLACE FUNCTION claudetrace.grant_v1(step jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO grants (budget_id, key, slot, picousd, calls, made_at, made_by, why, until)
    SELECT
        c.b, c.k, c.s, (step -> 'usd')::numeric, (step -> 'calls')::bigint, (step -> 'made_at')::bigint,
        step ->> 'made_by', step ->> 'why', (step ->> 'until')::bigint
    FROM claims_v1(step) AS c
$$;

-- Gives what tells who somebody was other names, and says how many entries there were. In each, the new name is first.
CREATE OR REPLACE FUNCTION claudetrace.forget_who_v1(step jsonb) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    each jsonb;
    kind text;
    gone integer;
    changed integer := 0;
BEGIN
    PERFORM FROM counters AS n
    WHERE (n.budget_id, n.key) IN (SELECT (k ->> 1)::integer, k ->> 2 FROM jsonb_array_elements(step -> 'keys') AS k)
    ORDER BY n.budget_id, n.key, n.slot
    FOR UPDATE;
    FOR each IN SELECT jsonb_array_elements(step -> 'keys') LOOP
        FOREACH kind IN ARRAY ARRAY['counters', 'charges', 'held', 'grants'] LOOP
            EXECUTE format('UPDATE %I SET key = $1 WHERE budget_id = $2 AND key = $3', kind)
            USING each ->> 0, (each ->> 1)::integer, each ->> 2;
            GET DIAGNOSTICS gone = ROW_COUNT;
            changed := changed + gone;
        END LOOP;
    END LOOP;
    UPDATE fired AS f SET mark = m ->> 0
    FROM jsonb_array_elements(step -> 'marks') AS m
    WHERE f.budget = m ->> 1 AND f.mark = m ->> 2;
    UPDATE alerts AS a SET alert = m ->> 0 FROM jsonb_array_elements(step -> 'alerts') AS m WHERE a.id = m ->> 2;
    UPDATE deliveries AS d SET reason = step ->> 'answered'
    FROM jsonb_array_elements(step -> 'alerts') AS m
    WHERE d.alert_id = m ->> 2 AND strpos(d.reason, m ->> 1) > 0;
    UPDATE charges AS c SET item = r ->> 0
    FROM jsonb_array_elements(step -> 'results') AS r
    WHERE c.call_id = r ->> 1 AND c.item = r ->> 2;
    RETURN changed + jsonb_array_length(step -> 'alerts');
END $$;
