import { ActionIcon, Button, Group, Paper, Progress, SimpleGrid, Stack, Text, Title } from '@mantine/core'
import { IconPlus, IconTerminal2 } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import { useTranslation } from 'react-i18next'
import { useQuery } from 'urql'
import { graphql } from '../../gql'
import type { HomeQuery } from '../../gql/graphql'
import { useViewer } from '../../shared/auth'
import { Empty } from '../../shared/Empty'
import { Failure } from '../../shared/Failure'
import { amount } from '../../shared/format'
import { StatusBadge } from '../../shared/StatusBadge'
import { useScope } from '../../shared/scope'
import { useSessionNews } from '../../shared/sessionStream'
import { usePageTitle } from '../../shared/usePageTitle'

const HOME = graphql(`
  query Home($groupId: ID!, $resourceGroupId: ID!, $mine: SessionFilter!) {
    availability(groupId: $groupId, resourceGroupId: $resourceGroupId) {
      slots {
        name
        type {
          unit
        }
        limit
        used
        capacity
        free
      }
      sessions {
        limit
        used
      }
    }
    running: sessions(first: 1, filter: { category: RUNNING }) {
      totalCount
    }
    recent: sessions(first: 5, filter: $mine) {
      nodes {
        id
        name
        status
        exitCode
        statusReason {
          code
        }
        allowedActions
        image {
          id
          language
          version
        }
      }
    }
  }
`)

export default function HomeRoute() {
  const { t } = useTranslation()
  const viewer = useViewer()
  const { groupId, resourceGroupId } = useScope()
  const [{ data, error }, reload] = useQuery({
    query: HOME,
    variables: {
      groupId: groupId ?? '',
      resourceGroupId: resourceGroupId ?? '',
      mine: { userId: viewer?.id ?? '' },
    },
    pause: !groupId || !resourceGroupId || !viewer,
    requestPolicy: 'cache-and-network',
  })
  usePageTitle(t('app.home'))
  const sessions = data?.availability.sessions
  useSessionNews(() => groupId && resourceGroupId && reload({ requestPolicy: 'network-only' }))
  return (
    <Stack gap="lg">
      <Group justify="space-between" align="flex-end">
        <div>
          <Title order={1} size="h2">
            {t('home.hello', { name: viewer?.name ?? '' })}
          </Title>
          <Text c="dimmed">{t('home.intro')}</Text>
        </div>
        <Button
          component={Link}
          to="/launch"
          size="md"
          hiddenFrom="sm"
          leftSection={<IconPlus size={18} aria-hidden />}
        >
          {t('app.start')}
        </Button>
      </Group>
      {error && <Failure error={error} retry={() => reload({ requestPolicy: 'network-only' })} />}
      <SimpleGrid cols={{ base: 1, xs: 2, md: 4 }}>
        <Figure label={t('home.running')} value={String(data?.running.totalCount ?? '–')} />
        <Figure
          label={t('home.limit')}
          value={String(sessions?.used ?? '–')}
          part={sessions?.limit ? sessions.used / sessions.limit : undefined}
          note={sessions?.limit ? t('home.atMost', { limit: sessions.limit }) : t('home.unlimited')}
        />
        {data?.availability.slots.map((slot) => (
          <Figure
            key={slot.name}
            label={`${t(`slots.${slot.name}`, slot.name)} · ${t('home.free')}`}
            value={amount({ ...slot, amount: slot.free })}
            part={Number(slot.capacity) ? 1 - Number(slot.free) / Number(slot.capacity) : 0}
            note={`${t('home.used')}: ${amount({ ...slot, amount: slot.used })} / ${
              slot.limit ? amount({ ...slot, amount: slot.limit }) : t('home.unlimited')
            }`}
          />
        ))}
      </SimpleGrid>
      <Paper className="card" radius="md" p="md">
        <Title order={2} size="h5" mb="xs">
          {t('home.recent')}
        </Title>
        {data?.recent.nodes.length === 0 && (
          <Empty
            icon={IconTerminal2}
            title={t('home.empty')}
            hint={t('home.emptyHint')}
            action={
              <Button component={Link} to="/launch" mt="sm">
                {t('app.start')}
              </Button>
            }
          />
        )}
        <ul className="rows">
          {data?.recent.nodes.map((session) => (
            <RecentSession key={session.id} session={session} />
          ))}
        </ul>
      </Paper>
    </Stack>
  )
}

type Recent = HomeQuery['recent']['nodes'][number]

/** One line: what it is, how it is, and the way to its shell. */
function RecentSession({ session }: { session: Recent }) {
  const { t } = useTranslation()
  return (
    <Group component="li" justify="space-between" wrap="nowrap" className="row">
      <Link
        to="/sessions/$id"
        params={{ id: session.id } as never}
        className="plain"
        style={{ flex: 1, minWidth: 0, paddingBlock: 8 }}
      >
        <Text fw={600} size="sm" style={{ overflowWrap: 'anywhere' }}>
          {session.name}
        </Text>
        <Text size="xs" c="dimmed">
          {session.image?.language} {session.image?.version}
        </Text>
      </Link>
      <Group gap="xs" wrap="nowrap">
        {session.allowedActions.includes('openTerminal') && (
          <ActionIcon
            variant="subtle"
            component="a"
            href={`/sessions/${session.id}/terminal`}
            target="_blank"
            aria-label={`${t('sessions.terminal')}: ${session.name}`}
          >
            <IconTerminal2 size={18} aria-hidden />
          </ActionIcon>
        )}
        <StatusBadge session={session} />
      </Group>
    </Group>
  )
}

function Figure({
  label,
  value,
  part,
  note,
}: {
  label: string
  value: string
  part?: number
  note?: string
}) {
  return (
    <Paper className="card" radius="md" p="md">
      <Text size="sm" c="dimmed">
        {label}
      </Text>
      <Text fz={26} fw={650} lh={1.3}>
        {value}
      </Text>
      {part !== undefined && <Progress value={part * 100} size="sm" mt={6} aria-label={label} />}
      {note && (
        <Text size="xs" c="dimmed" mt={6}>
          {note}
        </Text>
      )}
    </Paper>
  )
}
