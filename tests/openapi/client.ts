// Makes, verifies and revokes a key by the types of openapi-typescript.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string | undefined> };
const { KEYLEDGER_URL: baseUrl, KEYLEDGER_KEY: key, KEYLEDGER_ORGANIZATION } = process.env;
const organization_id = KEYLEDGER_ORGANIZATION ?? "";
const client = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${key}` } });
const keys = "/platform/organizations/{organization_id}/api-keys";

function check(held: boolean, what: unknown): asserts held {
  if (!held) throw new Error(JSON.stringify(what));
}

const made = await client.POST(keys, {
  params: { path: { organization_id } },
  body: { name: "CI", scopes: ["cases:read"], expires_in_days: 30, metadata: { team: "build" } },
});
check(made.response.status === 201 && made.data !== undefined, made.error);
const record: components["schemas"]["KeyRecord"] = made.data.key;
check(record.metadata.team === "build" && record.ended === null, record);
const raw = made.data.raw_key;
check(raw !== null, made.data);

async function verified(): Promise<components["schemas"]["VerifyResponse"]> {
  const answer = await client.POST("/v1/verify", {
    body: { key: raw ?? "", required_scopes: ["cases:read"] },
  });
  check(answer.data !== undefined, answer.error);
  return answer.data;
}

const good = await verified();
check(good.valid && good.code === "valid" && good.key?.id === record.id, good);
const path = { organization_id, key_id: record.id };
const revoked = await client.POST(`${keys}/{key_id}/revoke`, {
  params: { path },
  body: { reason: "done" },
});
check(revoked.data?.status === "revoked" && revoked.data.ended?.reason === "done", revoked);
const bad = await verified();
check(!bad.valid && bad.code === "revoked", bad);

const listed = await client.GET(keys, {
  params: { path: { organization_id }, query: { limit: 10 } },
});
check(listed.data?.some((known) => known.id === record.id) === true, listed);
const refused = await client.POST(keys, {
  params: { path: { organization_id } },
  body: { name: "", scopes: ["cases:read"] },
});
check(refused.error?.code === "field_empty" && refused.error.errors[0].field === "name", refused);
console.log("made, verified and revoked");
