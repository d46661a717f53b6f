// The npm client of MCP, unchanged: connects, calls one tool, and answers each form as it is told.
// Arguments: folder of the installed SDK, address, tool, its arguments and the answer as JSON.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [sdk, url, tool, args, answer] = process.argv.slice(2);
const load = (file) => import(pathToFileURL(join(sdk, "dist", "esm", file)).href);
const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");
const { ElicitRequestSchema } = await load("types.js");

const client = new Client({ name: "npm", version: "1" }, { capabilities: { elicitation: {} } });
const shown = [];
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  shown.push(request.params.message);
  return { action: "accept", content: JSON.parse(answer) };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const tools = (await client.listTools()).tools.map((one) => one.name);
const result = await client.callTool({ name: tool, arguments: JSON.parse(args) });
console.log(JSON.stringify({ shown, tools, result }));
await client.close();
