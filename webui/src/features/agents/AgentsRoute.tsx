import {
  ActionIcon,
  Alert,
  Badge,
  Button,
  Checkbox,
  Code,
  CopyButton,
  Group,
  Loader,
  Menu,
  Modal,
  Paper,
  Progress,
  Stack,
  Switch,
  Table,
  Text,
  Title,
  Tooltip,
  VisuallyHidden,
} from '@mantine/core'
import {
  IconAlertTriangle,
  IconCircleCheck,
  IconDots,
  IconPlugConnected,
  IconPlugConnectedX,
  IconPlus,
  IconServer2,
  IconTrash,
} from '@tabler/icons-react'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useClient, useMutation, useQuery } from 'urql'
import { graphql } from '../../gql'
import type { AgentListQuery } from '../../gql/graphql'
import { onReturn } from '../../shared/connection'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { bytes, moment } from '../../shared/format'
import { Pager, type Place, pageArguments } from '../../shared/Pager'
import { useScope } from '../../shared/scope'
import { usePageTitle } from '../../shared/usePageTitle'

const LIST = graphql(`
  query AgentList($first: Int, $after: String, $last: Int, $before: String) {
    agents(
      first: $first
      after: $after
      last: $last
      before: $before
      filter: { statusIn: [ALIVE, LOST] }
      orderBy: [{ field: NAME, direction: ASC }]
    ) {
      totalCount
      totalCountIsExact
      pageInfo {
        hasNextPage
        hasPreviousPage
        startCursor
        endCursor
      }
      nodes {
        id
        name
        status
        schedulable
        isolated
        runtime
        architecture
        version
        address
        lastContactAt
        allowedActions
        resourceGroup {
          id
          name
        }
        slots {
          name
          capacity
          used
          type {
            unit
          }
        }
        kernels {
          totalCount
        }
        stats {
          cpuPercent
          memoryUsed
          memoryTotal
        }
        hardware {
          cpuCount
          engine
          os
        }
      }
    }
  }
`)

const EVENTS = graphql(`
  subscription AgentEvents($after: String) {
    agentEvents(after: $after) {
      kind
      cursor
      code
      agent {
        id
        name
        status
        schedulable
      }
    }
  }
`)

const STATS = graphql(`
  subscription AgentStats($id: ID!) {
    agentStats(agentId: $id) {
      at
      cpuPercent
      memoryUsed
      memoryTotal
    }
  }
`)

const UPDATE = graphql(`
  mutation UpdateAgent($input: UpdateAgentInput!) {
    updateAgent(input: $input) {
      agent {
        id
        schedulable
      }
    }
  }
`)

const REMOVE = graphql(`
  mutation RemoveAgent($input: RemoveAgentInput!) {
    removeAgent(input: $input) {
      agent {
        id
        status
      }
    }
  }
`)

const JOIN = graphql(`
  mutation CreateJoinToken($input: CreateJoinTokenInput!) {
    createJoinToken(input: $input) {
      command
      expiresAt
    }
  }
`)

/** Nodes on a page; each is one subscription to its load. */
const PAGE = 25

type Agent = AgentListQuery['agents']['nodes'][number]

export default function AgentsRoute() {
  const { t } = useTranslation()
  const client = useClient()
  const [joining, setJoining] = useState(false)
  const [removing, setRemoving] = useState<Agent>()
  const [place, setPlace] = useState<Place>({})
  const [{ data, error }, reload] = useQuery({
    query: LIST,
    variables: pageArguments(PAGE, place),
    requestPolicy: 'cache-and-network',
  })
  usePageTitle(t('agents.title'))

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const news = () => {
      timer ??= setTimeout(() => {
        timer = undefined
        reload({ requestPolicy: 'network-only' })
      }, 300)
    }
    const { unsubscribe } = client.subscription(EVENTS, {}).subscribe(news)
    const forget = onReturn(news)
    return () => {
      clearTimeout(timer)
      forget()
      unsubscribe()
    }
  }, [client, reload])

  const agents = data?.agents.nodes ?? []
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <Title order={1} size="h2">
          {t('agents.title')}
        </Title>
        <Button leftSection={<IconPlus size={16} aria-hidden />} onClick={() => setJoining(true)}>
          {t('agents.add')}
        </Button>
      </Group>
      {error && <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />}
      <Paper className="card" radius="md">
        {data && agents.length === 0 ? (
          <Empty
            icon={IconServer2}
            title={t('agents.empty')}
            hint={t('agents.emptyHint')}
            action={
              <Button mt="sm" onClick={() => setJoining(true)}>
                {t('agents.add')}
              </Button>
            }
          />
        ) : (
          <Table.ScrollContainer minWidth={860}>
            <Table verticalSpacing="sm" horizontalSpacing="md">
              <Table.Thead>
                <Table.Tr>
                  <Table.Th>{t('agents.name')}</Table.Th>
                  <Table.Th>{t('agents.status')}</Table.Th>
                  <Table.Th>{t('agents.group')}</Table.Th>
                  <Table.Th>{t('agents.slots')}</Table.Th>
                  <Table.Th>{t('agents.load')}</Table.Th>
                  <Table.Th>{t('agents.kernels')}</Table.Th>
                  <Table.Th>{t('agents.schedulable')}</Table.Th>
                  <Table.Th>
                    <VisuallyHidden>{t('agents.remove')}</VisuallyHidden>
                  </Table.Th>
                </Table.Tr>
              </Table.Thead>
              <Table.Tbody>
                {agents.map((agent) => (
                  <Row key={agent.id} agent={agent} onRemove={() => setRemoving(agent)} />
                ))}
              </Table.Tbody>
            </Table>
          </Table.ScrollContainer>
        )}
      </Paper>
      {data && agents.length > 0 && <Pager page={data.agents} onGo={setPlace} />}
      <JoinDialog opened={joining} onClose={() => setJoining(false)} agents={agents} />
      {removing && <RemoveDialog agent={removing} onClose={() => setRemoving(undefined)} />}
    </Stack>
  )
}

function Row({ agent, onRemove }: { agent: Agent; onRemove: () => void }) {
  const { t, i18n } = useTranslation()
  const client = useClient()
  const [, update] = useMutation(UPDATE)
  const [stats, setStats] = useState(agent.stats)
  useEffect(() => {
    if (agent.status !== 'ALIVE') return
    const { unsubscribe } = client.subscription(STATS, { id: agent.id }).subscribe(({ data }) => {
      if (data) setStats(data.agentStats)
    })
    return unsubscribe
  }, [client, agent.id, agent.status])
  return (
    <Table.Tr>
      <Table.Td>
        <Group gap={6} wrap="nowrap">
          <Text fw={600} size="sm">
            {agent.name}
          </Text>
          {!agent.isolated && (
            <Tooltip label={t('agents.notIsolated')} multiline w={240}>
              <IconAlertTriangle
                size={16}
                role="img"
                color="var(--mantine-color-orange-6)"
                aria-label={t('agents.notIsolated')}
              />
            </Tooltip>
          )}
        </Group>
        <Text size="xs" c="dimmed">
          {agent.hardware.engine || agent.runtime} · {agent.architecture}
        </Text>
      </Table.Td>
      <Table.Td>
        <Tooltip
          label={
            agent.lastContactAt ? `${t('agents.contact')}: ${moment(agent.lastContactAt, i18n.language)}` : ''
          }
          disabled={!agent.lastContactAt}
        >
          <Badge
            color={agent.status === 'ALIVE' ? 'teal' : 'orange'}
            variant="light"
            tt="none"
            miw="max-content"
            leftSection={
              agent.status === 'ALIVE' ? (
                <IconPlugConnected size={12} aria-hidden />
              ) : (
                <IconPlugConnectedX size={12} aria-hidden />
              )
            }
          >
            {t(`agents.${agent.status}`)}
          </Badge>
        </Tooltip>
      </Table.Td>
      <Table.Td>
        <Text size="sm">{agent.resourceGroup.name}</Text>
      </Table.Td>
      <Table.Td miw={180}>
        <Stack gap={4}>
          {agent.slots.map((slot) => (
            <div key={slot.name}>
              <Text size="xs" c="dimmed">
                {slot.name} {slot.type.unit === 'BYTES' ? bytes(slot.used) : slot.used} /{' '}
                {slot.type.unit === 'BYTES' ? bytes(slot.capacity) : slot.capacity}
              </Text>
              <Progress
                value={(100 * Number(slot.used)) / (Number(slot.capacity) || 1)}
                size="xs"
                aria-label={`${agent.name} ${slot.name}`}
              />
            </div>
          ))}
        </Stack>
      </Table.Td>
      <Table.Td>
        <Text size="sm" style={{ whiteSpace: 'nowrap' }}>
          {stats ? `${Math.round(stats.cpuPercent)} % · ${bytes(stats.memoryUsed)}` : '—'}
        </Text>
      </Table.Td>
      <Table.Td>
        <Text size="sm">{agent.kernels.totalCount}</Text>
      </Table.Td>
      <Table.Td>
        <Switch
          aria-label={`${t('agents.schedulable')}: ${agent.name}`}
          checked={agent.schedulable}
          onChange={(event) =>
            void update({ input: { id: agent.id, schedulable: event.currentTarget.checked } })
          }
        />
      </Table.Td>
      <Table.Td>
        <Menu position="bottom-end">
          <Menu.Target>
            <ActionIcon variant="subtle" color="gray" aria-label={`${t('app.menu')}: ${agent.name}`}>
              <IconDots size={18} aria-hidden />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item color="red" leftSection={<IconTrash size={16} aria-hidden />} onClick={onRemove}>
              {t('agents.remove')}
            </Menu.Item>
          </Menu.Dropdown>
        </Menu>
      </Table.Td>
    </Table.Tr>
  )
}

function JoinDialog({ opened, onClose, agents }: { opened: boolean; onClose: () => void; agents: Agent[] }) {
  const { t } = useTranslation()
  const { resourceGroupId } = useScope()
  const [known, setKnown] = useState<string[]>([])
  const [{ data, error }, create] = useMutation(JOIN)
  // biome-ignore lint/correctness/useExhaustiveDependencies: one token for each time that the dialog opens
  useEffect(() => {
    if (!opened || !resourceGroupId) return
    setKnown(agents.map((agent) => agent.id))
    void create({ input: { resourceGroupId } })
  }, [opened, resourceGroupId])
  const arrived = agents.find((agent) => !known.includes(agent.id) && agent.status === 'ALIVE')
  const command = data?.createJoinToken.command ?? ''
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened={opened}
      onClose={onClose}
      title={t('agents.joinTitle')}
      size="lg"
    >
      <Stack>
        {error && <Failure error={error} />}
        <Text size="sm">{t('agents.joinText')}</Text>
        <Code block className="command" data-done={arrived !== undefined || undefined}>
          {command}
        </Code>
        <Group justify="space-between">
          {arrived ? (
            <Alert color="teal" icon={<IconCircleCheck size={18} aria-hidden />} p="xs" role="status">
              {t('agents.joinDone', { name: arrived.name })}
            </Alert>
          ) : (
            <Group gap="xs">
              <Loader size="xs" aria-hidden />
              <Text size="sm" c="dimmed">
                {t('agents.joinWaiting')}
              </Text>
            </Group>
          )}
          <CopyButton value={command}>
            {({ copied, copy }) => (
              <Button variant="light" onClick={copy} disabled={!command}>
                {copied ? t('app.copied') : t('app.copy')}
              </Button>
            )}
          </CopyButton>
        </Group>
      </Stack>
    </Modal>
  )
}

function RemoveDialog({ agent, onClose }: { agent: Agent; onClose: () => void }) {
  const { t } = useTranslation()
  const [force, setForce] = useState(false)
  const [{ error, fetching }, remove] = useMutation(REMOVE)
  return (
    <Modal
      closeButtonProps={{ 'aria-label': t('app.close') }}
      opened
      onClose={onClose}
      title={t('agents.removeTitle', { name: agent.name })}
    >
      <Stack>
        {error && <Failure error={error} />}
        <Text size="sm">{t('agents.removeText')}</Text>
        <Checkbox
          label={t('agents.force')}
          checked={force}
          onChange={(event) => setForce(event.currentTarget.checked)}
        />
        <Group justify="flex-end">
          <Button variant="default" onClick={onClose}>
            {t('app.cancel')}
          </Button>
          <Button
            color="red"
            loading={fetching}
            onClick={async () => {
              const done = await remove({ input: { id: agent.id, force } })
              if (!done.error) onClose()
            }}
          >
            {t('agents.remove')}
          </Button>
        </Group>
      </Stack>
    </Modal>
  )
}
