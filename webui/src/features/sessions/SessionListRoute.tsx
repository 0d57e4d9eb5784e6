import {
  ActionIcon,
  Button,
  Checkbox,
  Group,
  Paper,
  Skeleton,
  Stack,
  Table,
  Tabs,
  Text,
  Title,
  Tooltip,
  VisuallyHidden,
} from '@mantine/core'
import { IconPlus, IconTerminal2, IconTrash } from '@tabler/icons-react'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useQuery } from 'urql'
import type { SessionListQuery } from '../../gql/graphql'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { amount, bytes, duration } from '../../shared/format'
import { Pager, type Place, pageArguments } from '../../shared/Pager'
import { SearchField } from '../../shared/SearchField'
import { StatusBadge } from '../../shared/StatusBadge'
import type { ListSearch } from '../../shared/search'
import { useSessionNews } from '../../shared/sessionStream'
import { elapsed, useNow } from '../../shared/useNow'
import { usePageTitle } from '../../shared/usePageTitle'
import { LIST } from './documents'
import { TerminateDialog } from './TerminateDialog'

const PAGE = 25
const CATEGORY = { running: 'RUNNING', finished: 'FINISHED', other: 'OTHER' } as const

type Row = SessionListQuery['sessions']['nodes'][number]

export default function SessionListRoute() {
  const { t } = useTranslation()
  const navigate = useNavigate()
  const { tab = 'running', search = '' } = useSearch({ strict: false }) as ListSearch
  const [place, setPlace] = useState<Place>({})
  const [selected, setSelected] = useState<string[]>([])
  const [ending, setEnding] = useState<Row[]>([])
  const [{ data, fetching, error }, reload] = useQuery({
    query: LIST,
    variables: {
      filter: { category: CATEGORY[tab], ...(search ? { search } : {}) },
      ...pageArguments(PAGE, place),
    },
    requestPolicy: 'cache-and-network',
  })
  useSessionNews(() => reload({ requestPolicy: 'network-only' }))

  usePageTitle(t('sessions.title'))

  const go = useCallback(
    (next: ListSearch) => {
      setPlace({})
      setSelected([])
      void navigate({ to: '/sessions', search: next, replace: true })
    },
    [navigate],
  )
  const onSearch = useCallback((text: string) => go({ tab, search: text }), [go, tab])

  const rows = data?.sessions.nodes ?? []
  const chosen = rows.filter(
    (row) => selected.includes(row.id) && row.allowedActions.includes('terminateSessions'),
  )
  return (
    <Stack gap="md">
      <Group justify="space-between">
        <Title order={1} size="h2">
          {t('sessions.title')}
        </Title>
        <Button
          component={Link}
          to="/launch"
          hiddenFrom="sm"
          leftSection={<IconPlus size={16} aria-hidden />}
        >
          {t('app.start')}
        </Button>
      </Group>
      <Tabs value={tab} onChange={(value) => go({ tab: (value ?? 'running') as ListSearch['tab'], search })}>
        <Tabs.List>
          {(['running', 'finished', 'other'] as const).map((name) => (
            <Tabs.Tab key={name} value={name}>
              {t(`sessions.${name}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value={tab} pt="md">
          <Group justify="space-between" mb="sm" mih={36}>
            <SearchField label={t('sessions.search')} value={search} onSearch={onSearch} />
            {chosen.length > 0 && (
              <Group gap="sm">
                <Text size="sm">{t('sessions.selected', { count: chosen.length })}</Text>
                <Button
                  color="red"
                  variant="light"
                  size="xs"
                  leftSection={<IconTrash size={14} aria-hidden />}
                  onClick={() => setEnding(chosen)}
                >
                  {t('sessions.terminate')}
                </Button>
              </Group>
            )}
          </Group>
          {error && <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />}
          {!data && fetching && <Waiting />}
          {data && rows.length === 0 && !error && (
            <Paper className="card" radius="md">
              <Empty
                icon={IconTerminal2}
                title={t(
                  search
                    ? 'sessions.noMatch'
                    : `sessions.empty${tab === 'running' ? 'Running' : tab === 'finished' ? 'Finished' : 'Other'}`,
                )}
                hint={search ? '' : t('sessions.emptyHint')}
                action={
                  <Button component={Link} to="/launch" mt="sm">
                    {t('app.start')}
                  </Button>
                }
              />
            </Paper>
          )}
          {rows.length > 0 && (
            <Paper className="card" radius="md">
              <SessionTable
                rows={rows}
                selected={selected}
                onSelect={setSelected}
                onEnd={(row) => setEnding([row])}
                running={tab === 'running'}
              />
            </Paper>
          )}
          {data && rows.length > 0 && <Pager page={data.sessions} onGo={setPlace} />}
        </Tabs.Panel>
      </Tabs>
      <TerminateDialog
        sessions={ending}
        opened={ending.length > 0}
        onClose={(done) => {
          setEnding([])
          if (done) setSelected([])
        }}
      />
    </Stack>
  )
}

type TableProps = {
  rows: Row[]
  selected: string[]
  onSelect: (ids: string[]) => void
  onEnd: (row: Row) => void
  running: boolean
}

function SessionTable({ rows, selected, onSelect, onEnd, running }: TableProps) {
  const { t } = useTranslation()
  const now = useNow()
  return (
    <Table.ScrollContainer minWidth={820}>
      <Table verticalSpacing="sm" horizontalSpacing="md" highlightOnHover>
        <Table.Thead>
          <Table.Tr>
            <Table.Th w={40}>
              <Checkbox
                aria-label={t('sessions.selectAll')}
                checked={rows.length > 0 && rows.every((row) => selected.includes(row.id))}
                indeterminate={
                  rows.some((row) => selected.includes(row.id)) &&
                  !rows.every((row) => selected.includes(row.id))
                }
                onChange={(event) => onSelect(event.currentTarget.checked ? rows.map((row) => row.id) : [])}
              />
            </Table.Th>
            <Table.Th>{t('sessions.name')}</Table.Th>
            <Table.Th>{t('sessions.status')}</Table.Th>
            <Table.Th>{t('sessions.environment')}</Table.Th>
            <Table.Th>{t('sessions.resources')}</Table.Th>
            {running && <Table.Th>{t('sessions.usage')}</Table.Th>}
            <Table.Th>{t('sessions.elapsed')}</Table.Th>
            <Table.Th>
              <VisuallyHidden>{t('sessions.actions')}</VisuallyHidden>
            </Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {rows.map((row) => (
            <Table.Tr key={row.id}>
              <Table.Td>
                <Checkbox
                  aria-label={t('sessions.select', { name: row.name })}
                  checked={selected.includes(row.id)}
                  onChange={(event) =>
                    onSelect(
                      event.currentTarget.checked
                        ? [...selected, row.id]
                        : selected.filter((id) => id !== row.id),
                    )
                  }
                />
              </Table.Td>
              <Table.Td>
                <Text
                  component={Link}
                  to="/sessions/$id"
                  params={{ id: row.id } as never}
                  fw={600}
                  size="sm"
                  className="plain"
                >
                  {row.name}
                </Text>
                <Text size="xs" c="dimmed">
                  {row.user?.name} · {row.group?.name}
                </Text>
              </Table.Td>
              <Table.Td>
                <StatusBadge status={row.status} />
                {(row.pendingReason ?? (row.status === 'ERROR' ? row.statusReason : null)) && (
                  <Text size="xs" c="dimmed" maw={260} lineClamp={2} mt={2}>
                    {row.pendingReason?.message ?? row.statusReason?.message}
                  </Text>
                )}
              </Table.Td>
              <Table.Td>
                <Text size="sm">
                  {row.image?.language} {row.image?.version}
                </Text>
              </Table.Td>
              <Table.Td>
                <Text size="sm">
                  {row.slots
                    .map((slot) => (slot.name === 'mem' ? amount(slot) : `${amount(slot)} ${slot.name}`))
                    .join(' · ')}
                </Text>
              </Table.Td>
              {running && (
                <Table.Td>
                  <Text size="sm">
                    {row.stats
                      ? `${Math.round(row.stats.cpuPercent)} % · ${bytes(row.stats.memoryBytes)}`
                      : '—'}
                  </Text>
                </Table.Td>
              )}
              <Table.Td>
                <Text size="sm">{row.startedAt ? duration(elapsed(row, now)) : '—'}</Text>
              </Table.Td>
              <Table.Td>
                <Group gap={4} justify="flex-end" wrap="nowrap">
                  {row.allowedActions.includes('openTerminal') && (
                    <Tooltip label={t('sessions.terminal')}>
                      <ActionIcon
                        variant="subtle"
                        component="a"
                        href={`/sessions/${row.id}/terminal`}
                        target="_blank"
                        aria-label={`${t('sessions.terminal')}: ${row.name}`}
                      >
                        <IconTerminal2 size={18} aria-hidden />
                      </ActionIcon>
                    </Tooltip>
                  )}
                  {row.allowedActions.includes('terminateSessions') && (
                    <Tooltip label={t('sessions.terminate')}>
                      <ActionIcon
                        variant="subtle"
                        color="red"
                        aria-label={`${t('sessions.terminate')}: ${row.name}`}
                        onClick={() => onEnd(row)}
                      >
                        <IconTrash size={18} aria-hidden />
                      </ActionIcon>
                    </Tooltip>
                  )}
                </Group>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  )
}

function Waiting() {
  return (
    <Stack gap="xs" aria-busy>
      {[1, 2, 3, 4].map((row) => (
        <Skeleton key={row} height={52} radius="md" />
      ))}
    </Stack>
  )
}
