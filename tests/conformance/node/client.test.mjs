// dynamics-web-api, unmodified, against the environment at DATAVERSE_URL with DATAVERSE_TOKEN.
// It makes its own tables; every test works on rows of its own.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { DynamicsWebApi } from "dynamics-web-api";

const { DATAVERSE_URL, DATAVERSE_TOKEN } = process.env;
const GUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const NOBODY = "00000000-0000-4000-8000-000000000000";
const CRM = "Microsoft.Dynamics.CRM.";
const FORMATTED = "OData.Community.Display.V1.FormattedValue";
const config = {
  serverUrl: DATAVERSE_URL,
  dataApi: { version: "9.2" },
  onTokenRefresh: async () => DATAVERSE_TOKEN,
};
const api = new DynamicsWebApi(config);
const things = "nce_things";

const label = (text) => ({
  "@odata.type": `${CRM}Label`,
  LocalizedLabels: [{ "@odata.type": `${CRM}LocalizedLabel`, Label: text, LanguageCode: 1033 }],
});
const column = (kind, name, properties = {}) => ({
  "@odata.type": `${CRM}${kind}AttributeMetadata`,
  AttributeType: kind === "File" ? "Virtual" : kind,
  SchemaName: name,
  DisplayName: label(name),
  RequiredLevel: { Value: "None" },
  ...properties,
});

before(async () => {
  const entity = await api.createEntity({
    data: {
      "@odata.type": `${CRM}EntityMetadata`,
      SchemaName: "nce_Thing",
      DisplayName: label("Thing"),
      DisplayCollectionName: label("Things"),
      OwnershipType: "UserOwned",
      HasActivities: false,
      HasNotes: false,
      ChangeTrackingEnabled: true,
      Attributes: [column("String", "nce_Name", { IsPrimaryName: true, MaxLength: 100 })],
    },
  });
  assert.match(entity, GUID);
  const more = [
    column("String", "nce_Key", { MaxLength: 100 }),
    column("String", "nce_Group", { MaxLength: 100 }),
    column("Integer", "nce_Number", { MinValue: 0, MaxValue: 100000 }),
    column("Decimal", "nce_Price", { Precision: 10 }),
    column("File", "nce_Pdf", { MaxSizeInKB: 20480 }),
    column("Picklist", "nce_Status", {
      OptionSet: {
        IsGlobal: false,
        OptionSetType: "Picklist",
        Options: [{ Value: 727000000, Label: label("Draft") }, { Value: 727000001, Label: label("Active") }],
      },
    }),
  ];
  for (const data of more) await api.createAttribute({ entityKey: entity, data });
  await api.createRelationship({
    data: {
      "@odata.type": `${CRM}OneToManyRelationshipMetadata`,
      SchemaName: "nce_account_nce_thing",
      ReferencedEntity: "account",
      ReferencingEntity: "nce_thing",
      CascadeConfiguration: { Delete: "RemoveLink" },
      Lookup: column("Lookup", "nce_AccountId"),
    },
  });
  await api.create({
    collection: "EntityDefinitions",
    key: "LogicalName='nce_thing'",
    navigationProperty: "Keys",
    data: { SchemaName: "nce_ThingKey", KeyAttributes: ["nce_key"], DisplayName: label("Key") },
  });
});

const make = (data, more = {}) => api.create({ collection: things, data, ...more });
const read = (key, select = ["nce_name", "nce_number", "nce_key"]) =>
  api.retrieve({ collection: things, key, select });
const many = (group, count) =>
  Promise.all(
    Array.from({ length: count }, (_, number) =>
      make({ nce_group: group, nce_name: `${group} ${number}`, nce_number: number }),
    ),
  );
const refused = (status, code) => (error) =>
  error.status === status && (code === undefined || error.code === code);

test("a function call says who is asking", async () => {
  const who = await api.callFunction("WhoAmI");
  for (const name of ["BusinessUnitId", "UserId", "OrganizationId"]) assert.match(who[name], GUID);
});

test("a wrong token is refused", async () => {
  const stranger = new DynamicsWebApi({ ...config, onTokenRefresh: async () => "not-a-token" });
  await assert.rejects(stranger.callFunction("WhoAmI"), refused(401));
});

test("a row is created, read, updated and deleted", async () => {
  const id = await make({ nce_name: "Müller & Söhne", nce_number: 1 });
  assert.match(id, GUID);
  assert.equal((await read(id)).nce_name, "Müller & Söhne");
  await api.update({ collection: things, key: id, data: { nce_number: 2 } });
  await api.updateSingleProperty({ collection: things, key: id, fieldValuePair: { nce_name: "B" } });
  const { nce_name, nce_number } = await read(id);
  assert.deepEqual([nce_name, nce_number], ["B", 2]);
  await api.deleteRecord({ collection: things, key: id, property: "nce_name" });
  assert.equal((await read(id)).nce_name, null);
  await api.deleteRecord({ collection: things, key: id });
  await assert.rejects(read(id), refused(404, "0x80040217"));
});

test("a representation comes back when asked for", async () => {
  const made = await make({ nce_name: "A", nce_price: 18.7125 }, { returnRepresentation: true });
  assert.match(made.nce_thingid, GUID);
  assert.equal(made.nce_price, 18.7125);
  const changed = await api.update({
    collection: things,
    key: made.nce_thingid,
    data: { nce_price: 0.0000000001 },
    returnRepresentation: true,
    select: ["nce_price"],
  });
  assert.equal(changed.nce_price, 0.0000000001);
});

test("an update does not create, whatever the library is told", async () => {
  await assert.rejects(
    api.update({ collection: things, key: NOBODY, data: { nce_name: "A" } }),
    refused(404, "0x80040217"),
  );
});

test("a stale version is refused and changes nothing", async () => {
  const id = await make({ nce_name: "A" });
  const first = await read(id);
  const ifmatch = first["@odata.etag"];
  await api.update({ collection: things, key: id, data: { nce_name: "B" }, ifmatch });
  const strict = new DynamicsWebApi({ ...config, propagateErrors: true });
  const late = { collection: things, key: id, data: { nce_name: "C" }, ifmatch };
  await assert.rejects(strict.update(late), refused(412, "0x80060882"));
  await assert.rejects(strict.deleteRecord({ collection: things, key: id, ifmatch }), refused(412));
  assert.equal((await read(id)).nce_name, "B");
});

test("an unchanged row is not sent again", async () => {
  const id = await make({ nce_name: "A" });
  const etag = (await read(id))["@odata.etag"];
  const same = await api.retrieve({ collection: things, key: id, ifnonematch: etag });
  assert.equal(same?.nce_name, undefined);
});

test("an upsert by key creates once and then updates", async () => {
  const key = "nce_key='upsert O''Neill'";
  for (const number of [1, 2]) {
    await api.upsert({ collection: things, key, data: { nce_number: number } });
  }
  const found = await api.retrieveMultiple({ collection: things, filter: "nce_key eq 'upsert O''Neill'" });
  assert.deepEqual(found.value.map((row) => row.nce_number), [2]);
  assert.equal((await read(key)).nce_key, "upsert O'Neill");
});

test("an upsert with a condition only creates or only updates", async () => {
  const strict = new DynamicsWebApi({ ...config, propagateErrors: true });
  const key = "nce_key='conditions'";
  const upsert = (number, condition) =>
    strict.upsert({ collection: things, key, data: { nce_number: number }, ...condition });
  await assert.rejects(upsert(1, { ifmatch: "*" }), refused(404));
  await upsert(2, { ifnonematch: "*" });
  await assert.rejects(upsert(3, { ifnonematch: "*" }), refused(412));
  assert.equal((await read(key)).nce_number, 2);
  await upsert(4, { ifmatch: "*" });
  assert.equal((await read(key)).nce_number, 4);
});

test("a second row of one key is refused", async () => {
  await make({ nce_key: "taken" });
  await assert.rejects(make({ nce_key: "TAKEN" }), refused(412, "0x80060892"));
});

test("what a column cannot hold is refused with its code", async () => {
  await assert.rejects(make({ nce_key: "x".repeat(101) }), refused(400, "0x80044331"));
  await assert.rejects(make({ nce_status: 5 }), refused(400, "0x8004431a"));
  await assert.rejects(make({ nce_nothing: 5 }), refused(400, "0x80048d19"));
});

test("pages follow the link, each row once", async () => {
  await many("pages", 23);
  const query = {
    collection: things,
    select: ["nce_number"],
    filter: "nce_group eq 'pages'",
    orderBy: ["nce_number desc"],
    maxPageSize: 10,
    count: true,
  };
  const sizes = [];
  const numbers = [];
  let page = await api.retrieveMultiple(query);
  assert.equal(page.oDataCount, 23);
  for (;;) {
    sizes.push(page.value.length);
    numbers.push(...page.value.map((row) => row.nce_number));
    if (!page.oDataNextLink) break;
    page = await api.retrieveMultiple(query, page.oDataNextLink);
  }
  assert.deepEqual(sizes, [10, 10, 3]);
  assert.deepEqual(numbers, Array.from({ length: 23 }, (_, n) => 22 - n));
  const all = await api.retrieveAll(query);
  assert.equal(all.value.length, 23);
});

test("rows are counted", async () => {
  await many("count", 7);
  const filter = "nce_group eq 'count'";
  assert.equal(await api.count({ collection: things, filter }), 7);
  assert.equal(await api.countAll({ collection: things, filter }), 7);
  assert.ok((await api.count({ collection: things })) >= 7);
});

test("rows are filtered, ordered, cut, grouped and annotated", async () => {
  await many("query", 9);
  const found = await api.retrieveMultiple({
    collection: things,
    filter: "nce_group eq 'QUERY' and (nce_number gt 2 and not (nce_number eq 5))",
    orderBy: ["nce_number desc"],
    top: 4,
  });
  assert.deepEqual(found.value.map((row) => row.nce_number), [8, 7, 6, 4]);
  const sum = await api.retrieveMultiple({
    collection: things,
    apply: "filter(nce_group eq 'query')/aggregate(nce_number with sum as total)",
  });
  assert.equal(sum.value[0].total, 36);
  const id = await make({ nce_status: 727000001 });
  const shown = await api.retrieve({ collection: things, key: id, includeAnnotations: "*" });
  assert.equal(shown[`nce_status@${FORMATTED}`], "Active");
  assert.equal(shown.nce_status_Formatted, "Active");
});

test("links are bound, expanded, followed and removed", async () => {
  const account = await api.create({ collection: "accounts", data: { name: "Contoso" } });
  const id = await make({ nce_name: "A", "nce_AccountId@odata.bind": `/accounts(${account})` });
  const there = [{ property: "nce_AccountId", select: ["name"] }];
  const found = await api.retrieve({ collection: things, key: id, expand: there });
  assert.equal(found.nce_AccountId.name, "Contoso");
  const below = [{ property: "nce_account_nce_thing", select: ["nce_name"] }];
  const parent = await api.retrieve({ collection: "accounts", key: account, expand: below });
  assert.deepEqual(parent.nce_account_nce_thing.map((row) => row.nce_name), ["A"]);
  await api.disassociateSingleValued({ collection: things, primaryKey: id, navigationProperty: "nce_AccountId" });
  assert.equal((await read(id, ["_nce_accountid_value"]))._nce_accountid_value, null);
  await api.associateSingleValued({
    collection: things,
    primaryKey: id,
    navigationProperty: "nce_AccountId",
    relatedCollection: "accounts",
    relatedKey: account,
  });
  assert.equal((await read(id, ["_nce_accountid_value"]))._nce_accountid_value, account);
  await api.disassociate({
    collection: "accounts",
    primaryKey: account,
    relationshipName: "nce_account_nce_thing",
    relatedKey: id,
  });
  assert.equal((await read(id, ["_nce_accountid_value"]))._nce_accountid_value, null);
});

test("FetchXML aggregates, and pages by its cookie", async () => {
  await many("fetch", 25);
  const where = '<filter><condition attribute="nce_group" operator="eq" value="fetch"/></filter>';
  const sum = await api.fetch({
    collection: things,
    fetchXml: `<fetch aggregate="true"><entity name="nce_thing">
      <attribute name="nce_number" alias="total" aggregate="sum"/>${where}</entity></fetch>`,
  });
  assert.equal(sum.value[0].total, 300);
  const fetchXml = `<fetch count="10"><entity name="nce_thing"><attribute name="nce_number"/>
    <order attribute="nce_number"/>${where}</entity></fetch>`;
  const includeAnnotations = "*";
  const first = await api.fetch({ collection: things, fetchXml, includeAnnotations });
  assert.equal(first.PagingInfo.nextPage, 2);
  const all = await api.fetchAll({ collection: things, fetchXml, includeAnnotations });
  assert.deepEqual(all.value.map((row) => row.nce_number), Array.from({ length: 25 }, (_, n) => n));
});

test("a batch is answered part by part; its writes are one change set", async () => {
  const kept = await make({ nce_name: "kept" });
  api.startBatch();
  make({ nce_key: "batch-1", nce_number: 1 }, { contentId: "1" });
  api.create({ collection: things, contentId: "2", data: { nce_key: "batch-2" } });
  api.update({ collection: things, key: kept, data: { nce_number: 9 } });
  const answers = await api.executeBatch();
  assert.equal(answers.length, 3);
  assert.match(answers[0], GUID);
  assert.equal((await read("nce_key='batch-1'")).nce_number, 1);
  assert.equal((await read(kept)).nce_number, 9);

  api.startBatch();
  make({ nce_key: "batch-3" });
  make({ nce_key: "batch-1" });
  await assert.rejects(api.executeBatch(), ([one]) => one.error.code === "0x80060892");
  await assert.rejects(read("nce_key='batch-3'"), refused(404, "0x80060891"));
});

test("a part of a change set refers to an earlier one", async () => {
  api.startBatch();
  api.create({ collection: "accounts", data: { name: "Batch parent" }, contentId: "1" });
  make({ nce_key: "batch-child", "nce_AccountId@odata.bind": "$1" });
  await api.executeBatch();
  const child = await api.retrieve({
    collection: things,
    key: "nce_key='batch-child'",
    expand: [{ property: "nce_AccountId", select: ["name"] }],
  });
  assert.equal(child.nce_AccountId.name, "Batch parent");
});

test("a batch of reads goes on after an error when told to", async () => {
  api.startBatch();
  read(NOBODY);
  api.callFunction("WhoAmI");
  const [missing, who] = await api.executeBatch({ continueOnError: true }).catch((answers) => answers);
  assert.equal(missing.status, 404);
  assert.match(who.UserId, GUID);
});

test("bulk actions create and upsert", async () => {
  const typed = (row) => ({ "@odata.type": `${CRM}nce_thing`, ...row });
  const call = (client, name, targets) =>
    client.callAction({ collection: things, actionName: `${CRM}${name}`, action: { Targets: targets } });
  const made = await call(api, "CreateMultiple", [typed({ nce_key: "bulk-1" }), typed({ nce_key: "bulk-2" })]);
  assert.equal(made.Ids.length, 2);
  const relative = new DynamicsWebApi({ ...config, disableODataIdAbsoluteUrl: true });
  const target = (key, number) => typed({ "@odata.id": `${things}(nce_key='${key}')`, nce_number: number });
  await call(relative, "UpsertMultiple", [target("bulk-2", 2), target("bulk-3", 3)]);
  assert.equal((await read("nce_key='bulk-2'")).nce_number, 2);
  assert.equal((await read("nce_key='bulk-3'")).nce_number, 3);
});

test("a delta link tells what changed and what went", async () => {
  const [first, second] = await many("delta", 2);
  const query = { collection: things, select: ["nce_name"], trackChanges: true };
  const whole = await api.retrieveMultiple(query);
  assert.ok(whole.oDataDeltaLink);
  await api.update({ collection: things, key: first, data: { nce_name: "changed" } });
  await api.deleteRecord({ collection: things, key: second });
  const delta = await api.retrieveMultiple({ collection: things }, whole.oDataDeltaLink);
  const [changed, gone] = delta.value;
  assert.deepEqual([changed.nce_thingid, changed.nce_name], [first, "changed"]);
  assert.deepEqual([gone.id, gone.reason], [second, "deleted"]);
  const again = await api.retrieveMultiple({ collection: things }, delta.oDataDeltaLink);
  assert.deepEqual(again.value, []);
});

test("a file goes up in blocks and comes down the same", async () => {
  const key = await make({ nce_name: "file" });
  const data = Buffer.from("0123456789abcdef".repeat(5 * 65536));
  await api.uploadFile({ collection: things, key, property: "nce_pdf", fileName: "INV-1.pdf", data });
  const file = await api.downloadFile({ collection: things, key, property: "nce_pdf" });
  assert.equal(file.fileName, "INV-1.pdf");
  assert.ok(Buffer.from(file.data).equals(data));
});

test("definitions are read, changed and published", async () => {
  const key = "LogicalName='nce_thing'";
  const entity = await api.retrieveEntity({ key });
  assert.equal(entity.EntitySetName, things);
  await api.updateEntity({ data: { ...entity, Description: label("A thing") }, mergeLabels: true });
  const again = await api.retrieveEntity({ key, select: ["Description"] });
  assert.equal(again.Description.UserLocalizedLabel.Label, "A thing");
  const numbers = await api.retrieveAttributes({
    entityKey: key,
    castType: `${CRM}IntegerAttributeMetadata`,
    select: ["LogicalName", "MaxValue"],
    filter: "LogicalName eq 'nce_number'",
  });
  assert.deepEqual(numbers.value.map((one) => one.MaxValue), [100000]);
  await api.callAction({ actionName: "PublishAllXml" });
  const csdl = await api.retrieveCsdlMetadata();
  assert.match(csdl, /EntityType Name="nce_thing"/);
});
